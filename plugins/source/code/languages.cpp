// Languages: see languages.hpp. Where two languages share an extension, the one with far more public code has it.

#include "languages.hpp"

#include <algorithm>
#include <array>

namespace conclave::code {
namespace {

struct Name {
  std::string_view name, language;
};

// Sorted by name.
constexpr std::array whole_names = {
    Name{"CMakeLists.txt", "cmake"}, Name{"Dockerfile", "dockerfile"}, Name{"GNUmakefile", "make"},
    Name{"Gemfile", "ruby"},         Name{"Jenkinsfile", "groovy"},    Name{"Makefile", "make"},
    Name{"Rakefile", "ruby"},        Name{"Vagrantfile", "ruby"},      Name{"makefile", "make"},
};
constexpr std::array extensions = {
    Name{"C", "cpp"},
    Name{"R", "r"},
    Name{"S", "assembly"},
    Name{"adb", "ada"},
    Name{"ads", "ada"},
    Name{"agda", "agda"},
    Name{"asm", "assembly"},
    Name{"awk", "awk"},
    Name{"bash", "shell"},
    Name{"bat", "batch"},
    Name{"bzl", "starlark"},
    Name{"c", "c"},
    Name{"cc", "cpp"},
    Name{"cjs", "javascript"},
    Name{"cl", "common-lisp"},
    Name{"clj", "clojure"},
    Name{"cljs", "clojure"},
    Name{"cmake", "cmake"},
    Name{"coffee", "coffeescript"},
    Name{"cpp", "cpp"},
    Name{"cs", "csharp"},
    Name{"css", "css"},
    Name{"cu", "cuda"},
    Name{"cuh", "cuda"},
    Name{"cxx", "cpp"},
    Name{"d", "d"},
    Name{"dart", "dart"},
    Name{"el", "emacs-lisp"},
    Name{"elm", "elm"},
    Name{"erl", "erlang"},
    Name{"ex", "elixir"},
    Name{"exs", "elixir"},
    Name{"f", "fortran"},
    Name{"f03", "fortran"},
    Name{"f08", "fortran"},
    Name{"f90", "fortran"},
    Name{"f95", "fortran"},
    Name{"fs", "fsharp"},
    Name{"fsx", "fsharp"},
    Name{"glsl", "glsl"},
    Name{"go", "go"},
    Name{"gradle", "groovy"},
    Name{"graphql", "graphql"},
    Name{"groovy", "groovy"},
    Name{"h", "c"},
    Name{"hh", "cpp"},
    Name{"hpp", "cpp"},
    Name{"hrl", "erlang"},
    Name{"hs", "haskell"},
    Name{"html", "html"},
    Name{"hxx", "cpp"},
    Name{"idr", "idris"},
    Name{"inl", "cpp"},
    Name{"ipp", "cpp"},
    Name{"java", "java"},
    Name{"jl", "julia"},
    Name{"js", "javascript"},
    Name{"json", "json"},
    Name{"jsx", "javascript"},
    Name{"kt", "kotlin"},
    Name{"kts", "kotlin"},
    Name{"lean", "lean"},
    Name{"less", "less"},
    Name{"lhs", "haskell"},
    Name{"lisp", "common-lisp"},
    Name{"lua", "lua"},
    Name{"m", "objective-c"},
    Name{"md", "markdown"},
    Name{"mjs", "javascript"},
    Name{"ml", "ocaml"},
    Name{"mli", "ocaml"},
    Name{"mm", "objective-c"},
    Name{"nim", "nim"},
    Name{"nix", "nix"},
    Name{"pas", "pascal"},
    Name{"php", "php"},
    Name{"pl", "perl"},
    Name{"pm", "perl"},
    Name{"proto", "protobuf"},
    Name{"ps1", "powershell"},
    Name{"psm1", "powershell"},
    Name{"py", "python"},
    Name{"pyi", "python"},
    Name{"pyx", "cython"},
    Name{"r", "r"},
    Name{"rb", "ruby"},
    Name{"rkt", "racket"},
    Name{"rs", "rust"},
    Name{"rst", "restructuredtext"},
    Name{"s", "assembly"},
    Name{"sass", "sass"},
    Name{"scala", "scala"},
    Name{"scm", "scheme"},
    Name{"scss", "scss"},
    Name{"sh", "shell"},
    Name{"sol", "solidity"},
    Name{"sql", "sql"},
    Name{"sv", "systemverilog"},
    Name{"svelte", "svelte"},
    Name{"svh", "systemverilog"},
    Name{"swift", "swift"},
    Name{"tcl", "tcl"},
    Name{"tex", "tex"},
    Name{"thy", "isabelle"},
    Name{"toml", "toml"},
    Name{"ts", "typescript"},
    Name{"tsx", "typescript"},
    Name{"v", "verilog"},
    Name{"vb", "visual-basic"},
    Name{"vhd", "vhdl"},
    Name{"vhdl", "vhdl"},
    Name{"vim", "vim-script"},
    Name{"vue", "vue"},
    Name{"xml", "xml"},
    Name{"yaml", "yaml"},
    Name{"yml", "yaml"},
    Name{"zig", "zig"},
    Name{"zsh", "shell"},
};
static_assert(std::ranges::is_sorted(whole_names, {}, &Name::name) &&
              std::ranges::is_sorted(extensions, {}, &Name::name));

template <std::size_t N>
std::string_view find(const std::array<Name, N>& names, std::string_view name) {
  const auto* found = std::ranges::lower_bound(names, name, {}, &Name::name);
  return found != names.end() && found->name == name ? found->language : std::string_view{};
}

} // namespace

std::string_view language_of(std::string_view name) {
  if (const std::string_view whole = find(whole_names, name); !whole.empty()) return whole;
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : find(extensions, name.substr(dot + 1));
}

const std::vector<std::string_view>& known_languages() {
  static const std::vector<std::string_view> all = [] {
    std::vector<std::string_view> languages;
    for (const Name& name : whole_names) languages.push_back(name.language);
    for (const Name& name : extensions) languages.push_back(name.language);
    std::ranges::sort(languages);
    languages.erase(std::ranges::unique(languages).begin(), languages.end());
    return languages;
  }();
  return all;
}

} // namespace conclave::code
