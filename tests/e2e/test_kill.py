"""kill -9 at random moments, also inside a save: the run goes on and ends with the numbers of an unbroken one."""

import random
import time

from harness import ConclaveTest

KILLS = 20


class Kill(ConclaveTest):
    def test_random_kills_change_nothing(self):
        settings = ("--set", "train.steps=300", "--set", "checkpoint.with.every=2", "--quiet")
        begin = time.monotonic()
        self.run_conclave("--run-dir", "straight", *settings)
        whole = time.monotonic() - begin
        draw = random.Random(3)
        run = self.dir / "killed"
        kills = 0
        while kills < KILLS:
            process = self.start("--run-dir", run, *(("--resume",) if run.exists() else ()), *settings)
            try:
                # Long enough that most attempts get past start-up and some are caught writing.
                process.wait(timeout=draw.uniform(0.2, 1.0) * max(whole / 4, 2.0))
                break  # it came to its end between two kills
            except Exception:
                process.kill()
                process.communicate()
                kills += 1
        self.run_conclave("--run-dir", run, "--resume", *settings)
        self.assert_same_metrics(self.dir / "straight", run)
        print(f"{kills} kills survived")
