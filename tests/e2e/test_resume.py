"""N steps straight equal k + resume + (N - k), bit for bit."""

import json
import signal
import time

from harness import ConclaveTest, metrics


class Resume(ConclaveTest):
    def test_stop_after_and_resume_equal_an_unbroken_run(self):
        self.run_conclave("--run-dir", "straight")
        self.run_conclave("--run-dir", "broken", "--stop-after", 5)
        ended = json.loads((self.dir / "broken/exit.0.json").read_text())
        self.assertEqual((ended["code"], ended["step"]), (0, 5))
        self.assertIn("--stop-after", ended["reason"])
        self.assertIn("nothing is left to do", self.run_conclave("--run-dir", "broken", "--resume", "--stop-after", 5))
        self.run_conclave("--run-dir", "broken", "--resume")
        self.assert_same_metrics(self.dir / "straight", self.dir / "broken")

    def test_stopping_where_an_evaluation_is_due_loses_none(self):
        self.run_conclave("--run-dir", "straight")
        self.run_conclave("--run-dir", "broken", "--stop-after", 6)  # evaluate.every is 6
        self.run_conclave("--run-dir", "broken", "--resume")
        self.assert_same_metrics(self.dir / "straight", self.dir / "broken")

    def test_going_back_sets_the_later_checkpoints_aside(self):
        self.run_conclave("--run-dir", "straight")
        self.run_conclave("--run-dir", "run")
        folder = self.dir / "run/checkpoints"
        more = ("--set", "checkpoint.with.every=1", "--set", "checkpoint.with.keep=2")
        said = self.run_conclave("--run-dir", "run", "--resume", folder / "step-00000004", "--stop-after", 7, *more)
        self.assertNotIn("internal error", said)
        names = sorted(p.name for p in folder.iterdir())
        self.assertEqual([n for n in names if n.startswith("step-")], ["step-00000006", "step-00000007"])
        aside = [n for n in names if not n.startswith("step-")]
        self.assertEqual(len(aside), 2, names)  # 8 and 12 of the first attempt
        for name in aside:
            self.assertIn(name, said)
            self.assertTrue((folder / name / "manifest.json").exists())
        self.assertIn("at step 7", self.run_conclave("--run-dir", "run", "--resume", *more))
        self.assert_same_metrics(self.dir / "straight", self.dir / "run")
        # And back to the branch that was set aside.
        (eight,) = [n for n in aside if n.endswith("step-00000008")]
        said = self.run_conclave("--run-dir", "run", "--resume", folder / eight, "--stop-after", 9, *more)
        self.assertIn("at step 8", said)
        self.assertTrue((folder / "step-00000009/manifest.json").exists())
        self.assert_same_metrics(self.dir / "straight", self.dir / "run")

    def test_what_changes_no_number_may_change(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 4)
        said = self.run_conclave("--run-dir", "run", "--resume", "--set", "evaluate.every=3", "--set", "train.max_skipped=50")
        self.assertIn("evaluate.every", said)

    def test_sigterm_saves_and_asks_to_be_requeued(self):
        self.run_conclave("--run-dir", "straight", "--set", "train.steps=400")
        run = self.dir / "stopped"
        process = self.start("--run-dir", run, "--set", "train.steps=400")
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 10:
            self.assertLess(time.monotonic(), deadline, "the run wrote no metrics within a minute")
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 75, said)
        self.assertEqual(json.loads((run / "exit.0.json").read_text())["code"], 75)
        self.run_conclave("--run-dir", run, "--resume", "--set", "train.steps=400")
        self.assert_same_metrics(self.dir / "straight", run)

    def test_a_kill_before_the_first_checkpoint_starts_over(self):
        run = self.dir / "killed"
        process = self.start("--run-dir", run, "--set", "checkpoint.with.every=1000", "--set", "train.steps=2000")
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        process.kill()
        process.communicate()
        self.assertFalse((run / "exit.0.json").exists())
        self.assertIn("model: ", (run / "log.0.txt").read_text(), "what was said before the kill is in the log")
        said = self.run_conclave("--run-dir", run, "--resume", "--stop-after", 3, "--set", "checkpoint.with.every=1000", "--set", "train.steps=2000")
        self.assertIn("starting from step 0", said)

    def test_a_missing_path_is_an_error(self):
        said = self.run_conclave("--run-dir", "run", "--resume", "nowhere/step-00000004", code=5)
        self.assertIn("nowhere/step-00000004", said)

    def test_a_changed_experiment_is_refused_unless_allowed(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 4)
        said = self.run_conclave("--run-dir", "run", "--resume", "--set", "optimizer.with.lr=1e-3", code=2)
        self.assertIn("optimizer.with.lr", said)
        said = self.run_conclave("--run-dir", "run", "--resume", "--set", "optimizer.with.lr=1e-3", "--allow-change")
        self.assertIn("optimizer.with.lr", said)
        record = json.loads((self.dir / "run/record.json").read_text())
        self.assertEqual(record["attempts"][-1]["allowed_changes"][0][0], "optimizer.with.lr")

    def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(self):
        self.run_conclave("--run-dir", "straight")
        self.run_conclave("--run-dir", "run", "--stop-after", 8)
        newest = self.dir / "run/checkpoints/step-00000008"
        victim = max((p for p in newest.iterdir() if p.suffix == ".safetensors"), key=lambda p: p.stat().st_size)
        content = bytearray(victim.read_bytes())
        content[len(content) // 2] ^= 1
        victim.write_bytes(content)
        said = self.run_conclave("--run-dir", "run", "--resume", newest, code=5)
        self.assertIn(victim.name, said)
        said = self.run_conclave("--run-dir", "run", "--resume")
        self.assertIn(victim.name, said)
        self.assertIn("at step 4", said)
        self.assert_same_metrics(self.dir / "straight", self.dir / "run")
