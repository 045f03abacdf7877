"""A run from text to checkpoint, and what it leaves behind."""

import json

from harness import ConclaveTest, metrics


class Run(ConclaveTest):
    def test_leaves_a_complete_run_directory(self):
        said = self.run_conclave("--run-dir", "run")
        run = self.dir / "run"
        for name in ("resolved.yaml", "record.json", "metrics.jsonl", "log.0.txt", "exit.0.json", "experiment/tiny.yaml"):
            self.assertTrue((run / name).is_file(), f"{name} is missing; the run said:\n{said}")
        self.assertEqual(json.loads((run / "exit.0.json").read_text())["code"], 0)
        rows = metrics(run)
        self.assertEqual([step for kind, step in sorted(rows) if kind == "step"], list(range(1, 13)))
        for key in ("loss", "learning_rate", "grad_norm", "tokens"):
            self.assertIn(key, rows[("step", 1)])
        kept = sorted(p.name for p in (run / "checkpoints").iterdir() if (p / "manifest.json").exists())
        self.assertEqual(kept, ["step-00000004", "step-00000008", "step-00000012"])
        record = json.loads((run / "record.json").read_text())
        self.assertIn("model/moe-transformer", record["plugins"])
        self.assertEqual(len(record["attempts"]), 1)
        self.assertIn("run directory: ", said)

    def test_the_loss_falls(self):
        self.run_conclave("--run-dir", "run", "--set", "train.steps=60", "--set", "checkpoint.with.every=60")
        rows = metrics(self.dir / "run")
        self.assertLess(rows[("step", 60)]["nll"], rows[("step", 1)]["nll"] - 1.0)

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
