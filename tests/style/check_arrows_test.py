#!/usr/bin/env python3
"""tools/check-arrows finds each kind of breach in a tree made for it, and nothing in the same tree without it.

  check_arrows_test.py CHECK_ARROWS
"""
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = sys.argv.pop()
GOOD = {
    "sdk/include/conclave/value.hpp": "#include <string>\n",
    "sdk/include/conclave/param.hpp": '#include <ATen/core/Tensor.h>\n#include "conclave/value.hpp"\n',
    "core/config/bind.hpp": '#include "conclave/value.hpp"\n#include "plugin/guard.hpp"\n',
    "core/plugin/guard.hpp": "#include <string>\n",
    "core/run/run.cpp": '#include "config/bind.hpp"\n// talks of filter/simhash in a comment only\n',
    "plugins/filter/simhash/simhash.cpp": '#include "conclave/value.hpp"\n#include "simhash.hpp"\nconst char* id = "filter/simhash";\n',
    "plugins/filter/simhash/simhash.hpp": "#include <string>\n",
    "plugins/filter/simhash/CMakeLists.txt": "conclave_add_plugin(filter simhash SOURCES simhash.cpp)\n",
    "plugins/filter/length/length.cpp": '#include "conclave/value.hpp"\n',
}
# A file that is put over the good tree, and what must be said of it.
BAD = [
    ("core/run/bad.cpp", '#include "plugins/filter/simhash/simhash.hpp"\n', "core must not include a plugin's file"),
    ("core/config/bad.cpp", '\n#include "run/run.cpp"\n', "core/config must not include core/run"),
    ("core/plugin/bad.cpp", '#include "config/bind.hpp"\n', "core/plugin must not include core/config"),
    ("core/run/names.cpp", 'const char* id = "filter/simhash";\n', "core must not name a plugin: filter/simhash"),
    ("sdk/src/bad.cpp", '#include "plugin/guard.hpp"\n', "the sdk must not include core"),
    ("plugins/filter/length/bad.cpp", '#include "plugin/guard.hpp"\n', "a plugin must not include core"),
    ("plugins/filter/length/other.cpp", '#include "../simhash/simhash.hpp"\n', "a plugin must not include another plugin's file"),
    ("plugins/filter/length/kernel.cu", "#include <ATen/core/Tensor.h>\n", "a CUDA source must not include torch"),
    ("sdk/include/conclave/bad.hpp", "#include <yaml-cpp/yaml.h>\n", "a public header may include only the standard library"),
    ("sdk/include/conclave/tensor.hpp", "#include <ATen/core/Tensor.h>\n", "only a tensor header"),
    ("sdk/include/conclave/param.hpp", "#include <torch/torch.h>\n", "a public header must not include torch/torch.h: ATen/core/Tensor.h is enough"),
    ("sdk/include/conclave/light.hpp", '#include "conclave/param.hpp"\n', "a header without tensors must not include a tensor header"),
    ("plugins/filter/length/CMakeLists.txt", "target_link_libraries(x conclave_config)\n", "a plugin must not build against core"),
    ("core/CMakeLists.txt", "set(x plugins/filter/simhash)\n", "core must not name a plugin's folder"),
]


class CheckArrows(unittest.TestCase):
    def check(self, files):
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = pathlib.Path(root, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([CHECK, root], capture_output=True, text=True, timeout=60)

    def test_a_good_tree_has_no_breach(self):
        done = self.check(GOOD)
        self.assertEqual((done.returncode, done.stdout), (0, f"check-arrows: {len(GOOD)} files, 0 breaches of the arrows\n"))

    def test_each_breach_is_named_with_its_file_and_line(self):
        for name, text, rule in BAD:
            with self.subTest(name=name):
                done = self.check({**GOOD, name: text})
                line = text.count("\n", 0, len(text) - len(text.lstrip())) + 1
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertIn(f"{name}:{line}: {rule}", done.stdout)
                self.assertIn(" 1 breaches", done.stdout)

    def test_a_folder_without_a_house_is_an_error(self):
        self.assertEqual(self.check({"README.md": ""}).returncode, 2)


if __name__ == "__main__":
    unittest.main()
