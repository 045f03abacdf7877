"""kill -9 at random moments, also inside a save: the run goes on and ends with the numbers of an unbroken one."""

import random
import time

from harness import ConclaveTest, metrics

KILLS = 20  # and more, up to twice as many, until one of them hit a save
SETTINGS = ("--set", "train.steps=1500", "--set", "checkpoint.with.every=2", "--quiet")


class Kill(ConclaveTest):
    def wait_for_a_step(self, process, log, size):
        """Until the attempt has reported a step; False when the process ended first."""
        deadline = time.monotonic() + 120
        while not log.exists() or log.stat().st_size <= size:
            if process.poll() is not None:
                return False
            self.assertLess(time.monotonic(), deadline, "no step within two minutes")
            time.sleep(0.005)
        return True

    def test_random_kills_change_nothing(self):
        self.run_conclave("--run-dir", "straight", *SETTINGS)
        draw = random.Random(3)
        run = self.dir / "killed"
        log = run / "metrics.jsonl"
        kills = inside_a_save = 0
        while kills < KILLS or (inside_a_save == 0 and kills < 2 * KILLS):
            size = log.stat().st_size if log.exists() else 0
            process = self.start("--run-dir", run, *(("--resume",) if run.exists() else ()), *SETTINGS)
            # Every fourth attempt dies at any moment of its start, the others after it has gone on.
            if kills % 4 != 3:
                self.assertTrue(self.wait_for_a_step(process, log, size), f"ended after {kills} kills")
            time.sleep(draw.uniform(0, 0.3))
            self.assertIsNone(process.poll(), f"came to its end after {kills} kills: give the run more steps")
            process.kill()
            process.communicate()
            kills += 1
            inside_a_save += bool(list(run.glob("checkpoints/.tmp-*")) or list(run.glob("checkpoints/*/manifest.json.tmp")))
        reached = max(step for _, step in metrics(run))
        self.run_conclave("--run-dir", run, "--resume", *SETTINGS)
        self.assert_same_metrics(self.dir / "straight", run)
        print(f"{kills} kills survived up to step {reached}, {inside_a_save} of them inside a save")
        self.assertGreater(inside_a_save, 0)
