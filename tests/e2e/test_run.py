"""A run from text to checkpoint, and what it leaves behind."""

import json
import subprocess

from harness import ConclaveTest, metrics, write_corpus


class Run(ConclaveTest):
    def test_leaves_a_complete_run_directory(self):
        said = self.run_conclave("--run-dir", "run")
        run = self.dir / "run"
        for name in ("resolved.yaml", "record.json", "metrics.jsonl", "log.0.txt", "exit.0.json", "experiment/tiny.yaml"):
            self.assertTrue((run / name).is_file(), f"{name} is missing; the run said:\n{said}")
        ended = json.loads((run / "exit.0.json").read_text())
        self.assertEqual((ended["code"], ended["reason"], ended["step"], ended["attempt"]), (0, "done", 12, 0))
        rows = metrics(run)
        self.assertEqual([step for kind, step in sorted(rows) if kind == "step"], list(range(1, 13)))
        for key in ("loss", "learning_rate", "grad_norm", "tokens"):
            self.assertIn(key, rows[("step", 1)])
        kept = sorted(p.name for p in (run / "checkpoints").iterdir() if (p / "manifest.json").exists())
        self.assertEqual(kept, ["step-00000004", "step-00000008", "step-00000012"])
        record = json.loads((run / "record.json").read_text())
        self.assertEqual(len(record["attempts"]), 1)
        attempt = record["attempts"][0]
        self.assertRegex(attempt["plugins"]["model/moe-transformer"]["sha256"], "^[0-9a-f]{64}$")
        self.assertEqual(attempt["layout"]["tensor"], 1)
        self.assertIn(["experts", "Conclave CPU kernel"], attempt["operators"])
        self.assertRegex(attempt["arithmetic"], "[0-9]+ threads")
        self.assertIn("run directory: ", said)
        # 12 batches of 6 and 2 sequences.
        self.assertEqual(sorted(attempt["data"]["passes"]), ["lists", "prose"])
        self.assertRegex(said, r"passes over each domain in 12 steps: prose 0\.\d+, lists 0\.\d+")

    def test_the_mixture_is_that_of_the_stage(self):
        said = self.run_conclave("--run-dir", "run", "--set", "data.curriculum=[{from: 50%, length: 16, shares: {prose: 1, lists: 3}}]")
        self.assertRegex(said, r"from step 0 on up to 32 tokens a sequence; prose 75 %, lists 25 %")
        self.assertRegex(said, r"from step 6 on up to 16 tokens a sequence; prose 25 %, lists 75 %")
        rows = [row for (kind, _), row in sorted(metrics(self.dir / "run").items()) if kind == "step"]
        self.assertEqual([row["domain_share_by_domain"] for row in rows], 6 * [{"prose": 0.75, "lists": 0.25}] + 6 * [{"prose": 0.25, "lists": 0.75}])
        self.assertEqual([row["tokens"] for row in rows], 6 * [8 * 32] + 6 * [8 * 16])

    def test_packs_of_whole_documents_say_how_much_is_padding(self):
        self.run_conclave("--run-dir", "run", "--set", "data.batching.packing=best_fit", "--set", "data.length.max=512")
        shares = [row["padding_share"] for (kind, _), row in metrics(self.dir / "run").items() if kind == "step"]
        self.assertTrue(all(0 < share < 0.9 for share in shares), shares)

    def test_says_what_each_filter_kept_and_dropped_of_each_domain(self):
        texts = self.dir / "text"
        write_corpus(texts)
        twin = (texts / "prose/000.txt").read_text()
        for name in ("twin", "triplet"):
            (texts / f"prose/{name}.txt").write_text(twin)
        said = self.run_conclave("--run-dir", "run", "--stop-after", 1, text=texts)
        self.assertRegex(said, r"exact-dedup +prose +kept +40 documents, dropped +2 \(2 [a-z-]+\)")
        self.assertRegex(said, r"exact-dedup +lists +kept +40 documents, dropped +0")
        report = json.loads((self.dir / "run/data.json").read_text())
        self.assertEqual(report["schema"], 1)
        (row,) = [row for row in report["filters"] if (row["filter"], row["domain"]) == ("exact-dedup", "prose")]
        self.assertEqual(row["kept"]["documents"], 40)
        (dropped,) = row["dropped"].values()
        self.assertEqual(dropped, {"documents": 2, "bytes": 2 * len(twin.encode())})

    def test_the_command_at_the_end_of_a_stopped_run_goes_on(self):
        said = self.run_conclave("--run-dir", "my run", "--set", "train.steps=6", "--stop-after", 3)
        command = said.split("next: ")[1].splitlines()[0]
        done = subprocess.run(command, shell=True, cwd=self.shared, env=self.environment(), text=True, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}")
        self.assertIn("at step 3", done.stdout)
        self.assertNotIn("export", done.stdout, "a model with hierarchical attention has no Hugging Face form")

    def test_the_end_names_what_can_be_looked_at(self):
        said = self.run_conclave("--run-dir", "run", "--set", "monitors=!append [{use: monitor/tensorboard}]")
        self.assertIn("tensorboard --logdir ", said)
        self.assertNotIn("tensorboard", self.run_conclave("--run-dir", "plain"))

    def test_a_reader_that_goes_away_does_not_end_the_run(self):
        process = subprocess.Popen(self.command("--run-dir", "run"), cwd=self.dir, env=self.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(process.stderr.readline())
        process.stdout.close()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=300), 0)
        self.assertEqual(json.loads((self.dir / "run/exit.0.json").read_text())["code"], 0)

    def test_too_little_memory_is_no_bug(self):
        said = self.run_conclave("--run-dir", "run", "--set", "model.with.expert_width=1048576", "--set", "model.with.width=65536",
                                 "--set", "model.with.experts=256", code=3)  # 211 TB a layer: more than addresses reach
        self.assertIn("out of memory", said)
        self.assertIn("train.micro_batch", said)
        self.assertEqual(json.loads((self.dir / "run/exit.0.json").read_text())["code"], 3)

    def test_the_loss_falls(self):
        self.run_conclave("--run-dir", "run", "--set", "train.steps=60", "--set", "checkpoint.with.every=60")
        rows = metrics(self.dir / "run")
        self.assertLess(rows[("step", 60)]["nll"], rows[("step", 1)]["nll"] - 1.0)

    def test_the_reference_operators_make_the_same_run(self):
        narrow = ("--set", "precision.compute=fp64", "--stop-after", 6)
        self.run_conclave("--run-dir", "fused", *narrow)
        self.run_conclave("--run-dir", "reference", "--set", "train.operators=reference", *narrow)
        ours, theirs = metrics(self.dir / "fused"), metrics(self.dir / "reference")
        self.assertEqual(ours.keys(), theirs.keys())
        for row in ours:
            if row[0] == "step":
                for key in ("loss", "grad_norm"):
                    self.assertAlmostEqual(ours[row][key], theirs[row][key], delta=1e-9, msg=f"{key} of {row}")
        operators = json.loads((self.dir / "reference/record.json").read_text())["attempts"][0]["operators"]
        self.assertFalse([line for line in operators if "Conclave" in line[1]], operators)

    def test_resolved_yaml_runs_again_to_the_same_numbers(self):
        self.run_conclave("--run-dir", "first")
        self.run_conclave("--run-dir", "second", experiment=self.dir / "first/resolved.yaml")
        self.assert_same_metrics(self.dir / "first", self.dir / "second")

    def test_shares_are_exact_in_every_batch_and_quiet_is_silent(self):
        self.assertEqual(self.run_conclave("--run-dir", "run", "--quiet"), "")
        with open(self.dir / "run/metrics.jsonl") as lines:
            shares = [json.loads(line).get("domain_share_by_domain") for line in lines]
        shares = [s for s in shares if s]
        self.assertTrue(shares)
        for share in shares:
            self.assertEqual(share, {"prose": 0.75, "lists": 0.25})
