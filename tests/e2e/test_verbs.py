"""Verbs that train nothing: what they write and say."""

import json
import pathlib
import shlex
import subprocess
import unittest

from harness import CONCLAVE, ConclaveTest, TINY

EXPERIMENTS = TINY.parents[2] / "experiments"


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

    def test_check_states_memory_and_storage(self):
        check = ("check", TINY, "--set", f"vars.text={self.shared}/text")
        said = self.verb(*check)
        self.assertIn("\n  1 rank: pipeline 1 x data 1 x tensor 1, experts over 1\n", said)
        self.assertRegex(said, r"\n    weights \S+ kB \+ gradients \S+ kB \+ optimizer \S+ kB \+ activations \S+ \S?B \+ "
                               r"buffers \S+ MB \+ CUDA 700 MB = \S+ MB\n")
        # 12 steps with every: 4 and keep: 3 leave three checkpoints; 12 x 8 x 32 tokens of two bytes.
        self.assertRegex(said, r"storage: checkpoints of \S+ kB x \(3 kept \+ 1 under way\) "
                               r"\+ prepared tokens of up to 6\.14 kB = ")
        said = self.verb(*check, "--ranks", "4", "--set", "parallel={pipeline: 2, expert: 2}")
        self.assertIn("\n  4 ranks: pipeline 2 x data 2 x tensor 1, experts over 2\n", said)
        self.assertIn("\n    pipeline rank 1: weights ", said)

    def test_check_refuses_what_does_not_fit(self):
        check = ("check", TINY, "--set", f"vars.text={self.shared}/text")
        said = self.verb(*check, "--set", "hardware={gpu_memory: 100MB, storage: 1MB}", code=2)
        self.assertRegex(said, r"hardware\.gpu_memory: a GPU has 100 MB, and on 1 rank \(pipeline 1 x data 1 x tensor 1, "
                               r"experts over 1\) one needs weights .* \+ CUDA 700 MB = \S+ MB: .*train\.recompute: true")
        self.assertRegex(said, r"hardware\.storage: there are 1 MB, and the run needs checkpoints of \S+ kB x \(3 kept \+ 1 "
                               r"under way\) \+ prepared tokens of up to 6\.14 kB = \S+ MB: keep fewer checkpoints")
        said = self.verb(*check, "--ranks", "3", code=2)
        self.assertIn("parallel: train.batch 8 is no multiple of micro_batch x data ranks = 4 x 3 = 12", said)
        said = self.verb(*check, "--ranks", "4", "--set", "parallel.expert=3", code=2)
        self.assertIn("expert 3 does not divide data 4 x tensor 1 = 4", said)

    def test_a_layout_chosen_for_the_ranks(self):
        check = ("check", TINY, "--set", f"vars.text={self.shared}/text", "--set", "parallel=auto", "--ranks")
        self.assertIn("\n  2 ranks: pipeline 1 x data 2 x tensor 1, experts over 1\n", self.verb(*check, "2"))
        # Two micro-batches for four data ranks: the model is split.
        self.assertIn("\n  4 ranks: pipeline 1 x data 2 x tensor 2, experts over 1\n", self.verb(*check, "4"))
        self.assertIn("parallel: no layout of 7 ranks suits the experiment (pipeline 1 x data 7 ", self.verb(*check, "7", code=2))

    @unittest.skipIf(pathlib.Path("/dev/nvidiactl").exists(), "this machine has a GPU")
    def test_profile_needs_a_gpu(self):
        said = self.verb("profile", TINY, "--set", f"vars.text={self.shared}/text", code=3)
        self.assertIn("no NVIDIA driver on this machine", said)

    def test_the_scale_ladder_fits_where_it_says(self):
        said = self.verb("check", EXPERIMENTS / "moe-10b.yaml")
        self.assertIn("\n  8 ranks: pipeline 1 x data 8 x tensor 1, experts over 8\n", said)
        self.assertIn(" GB of 80 GB\n", said)
        self.assertRegex(said, r"storage: checkpoints of \S+ GB x \(5 kept \+ 1 under way\) .* of 2 TB\n")
        large = EXPERIMENTS / "moe-100b.yaml"
        said = self.verb("check", large, "--ranks", "8", code=2)
        self.assertRegex(said, r"hardware\.gpu_memory: a GPU has 80 GB, and on 8 ranks \(.*\) one needs weights \S+ GB \+ .* = "
                               r"\S+ GB: more ranks, with a higher parallel\.expert")
        for ranks in (64, 1024):
            self.assertIn(f"\n  {ranks} ranks: ", self.verb("check", large, "--ranks", str(ranks)))
