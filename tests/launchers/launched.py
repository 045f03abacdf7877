"""What the launcher tests share: the experiment of the end-to-end tests on four ranks, under one layout."""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import CONCLAVE, TINY, ConclaveTest, write_corpus  # noqa: E402, F401

RANKS = 4
# Two data ranks of two tensor ranks; experts folded over them.
LAYOUT = ("--set", "parallel.tensor=2", "--set", "parallel.expert=2", "--set", "train.micro_batch=2")
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class LaunchedTest(ConclaveTest):
    def environment(self):
        # How sums split over threads is part of what must be equal, and launchers differ in what they set.
        return {**super().environment(), "OMP_NUM_THREADS": "1"}

    def command(self, *arguments, **keywords):
        return super().command(*LAYOUT, *arguments, **keywords)

    def straight(self, *arguments):
        """The folder of the run that the launchers' are compared with: by `--ranks`, unbroken."""
        self.run_conclave("--ranks", RANKS, "--run-dir", "straight", *arguments)
        return self.dir / "straight"

    def assert_ended_well(self, run, launcher, attempts=1):
        attempt = json.loads((run / "record.json").read_text())["attempts"]
        self.assertEqual(len(attempt), attempts)
        self.assertEqual((attempt[-1]["launcher"], attempt[-1]["ranks"]), (launcher, RANKS))
        for rank in range(RANKS):
            ended = json.loads((run / f"exit.{rank}.json").read_text())
            self.assertEqual((ended["code"], ended["step"]), (0, self.steps), f"rank {rank}: {ended}")
            self.assertTrue((run / f"log.{rank}.txt").exists())

    steps = 12
