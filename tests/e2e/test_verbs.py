"""Verbs that train nothing: what they write and say."""

import json
import pathlib
import shlex
import subprocess

from harness import CONCLAVE, ConclaveTest, TINY


class Verbs(ConclaveTest):
    def verb(self, *arguments, code=0):
        done = subprocess.run([CONCLAVE, *map(str, arguments)], cwd=self.dir, env=self.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_a_misspelt_verb_is_named_with_its_neighbour(self):
        self.assertIn("conclave: there is no verb 'chek': did you mean check?", self.verb("chek", "x.yaml", code=2))
        self.assertIn("conclave config: there is no verb 'expain': did you mean explain?",
                      self.verb("config", "expain", "x.yaml", "seed", code=2))
        self.assertIn("there is no verb 'zzzzzz': `conclave --help` lists them", self.verb("zzzzzz", code=2))

    def test_schema_makes_the_folders_it_needs(self):
        self.verb("schema", "--out", "new/folder/schema.json")
        schema = json.loads((self.dir / "new/folder/schema.json").read_text())
        self.assertIn("train", schema["properties"])
        (self.dir / "file").write_text("in the way")
        self.assertIn("cannot be written", self.verb("schema", "--out", "file/schema.json", code=5))

    def test_the_options_of_an_experiment(self):
        said = self.verb("config", "options")
        self.assertIn("\n    held_out: share = 0.01; [0, 0.5]; affects numerics\n", said)
        self.assertIn("\n    data: integer = auto; [1, 1048576], or auto; affects speed\n", said)
        self.assertIn("\nmonitors: list of monitor plugins = []; affects io\n", said)
        table = {option["name"]: option for option in json.loads(self.verb("config", "options", "--json"))}
        fields = {field["name"]: field for field in table["data"]["fields"]}
        self.assertEqual([field["name"] for field in fields["domains"]["fields"]], ["share", "skip_filters", "source"])

    def test_limits_are_whole_numbers_where_they_are_whole(self):
        said = self.verb("plugins", "show", "model/moe-transformer")
        self.assertIn("  width: integer = 2048; [1, 1048576]; affects numerics\n", said)
        self.assertIn("  betas: list of number = [0.9, 0.98]; [0, 1], 2 values; affects numerics\n",
                      self.verb("plugins", "show", "optimizer/adamw"))
        self.assertIn("  next: scheduler plugin = null, may be null; affects numerics\n",
                      self.verb("plugins", "show", "scheduler/constant"))

    def test_the_commands_of_new_plugin_can_be_pasted(self):
        folder = self.dir / "it's my plugin"
        said = self.verb("new-plugin", "filter", "mine", "--dir", folder).splitlines()
        configure = shlex.split(said[said.index("Build and test it:") + 1])
        self.assertEqual(configure[:5], ["cmake", "-S", str(folder), "-B", str(folder / "build")])
        check = shlex.split(said[said.index("Check it as the host sees it:") + 1])
        self.assertEqual(check, [str(pathlib.Path(CONCLAVE).resolve()), "plugins", "check", str(folder / "build/plugins/filter-mine.so")])

    def test_plugins_check_says_what_it_skipped_and_how_to_run_it(self):
        library = json.loads(self.verb("plugins", "show", "source/text", "--json"))["file"]
        said = self.verb("plugins", "check", library)
        self.assertRegex(said, r"[1-9]\d* skipped\n")
        self.assertIn("it requires options (paths): give them with --with '{...}'", said)
        said = self.verb("plugins", "check", library, "--with", f"{{paths: [{TINY}]}}")
        self.assertRegex(said, r" 0 skipped\n$")
        bytes_tokenizer = json.loads(self.verb("plugins", "show", "tokenizer/bytes", "--json"))["file"]
        said = self.verb("plugins", "check", bytes_tokenizer)
        self.assertIn("skipped", said)
        self.assertNotIn("--with", said, "what needs no options is not advised to take some")

    def test_check_hints_at_a_run_without_warm_up(self):
        check = ("check", TINY, "--set", f"vars.text={self.shared}/text")
        self.assertNotIn("warm-up", self.verb(*check))
        self.assertIn("there is no warm-up", self.verb(*check, "--set", "scheduler.with.warmup=0"))

    def test_a_chain_that_leaves_nothing_to_the_next_schedule(self):
        said = self.verb("check", TINY, "--set", f"vars.text={self.shared}/text", "--set",
                         "scheduler={use: scheduler/constant, with: {next: {use: scheduler/warmup-cosine}}}", code=2)
        self.assertIn("`steps` is all of the run, which leaves nothing to `next`", said)
