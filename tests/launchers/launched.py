"""What the launcher tests share: an experiment on four ranks, under one layout. It is that of the end-to-end tests, or with
CONCLAVE_LAUNCHED=quickstart the first steps of experiments/quickstart.yaml, which needs what `tools/bootstrap --text` brings.
"""

import json
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import CONCLAVE, TINY, ConclaveTest, metrics  # noqa: E402, F401

RANKS = 4
# Two data ranks of two tensor ranks; experts folded over them.
LAYOUT = ("--set", "parallel.tensor=2", "--set", "parallel.expert=2", "--set", "train.micro_batch=2")
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUICKSTART = os.environ.get("CONCLAVE_LAUNCHED") == "quickstart"
EXPERIMENT = ROOT / "experiments/quickstart.yaml" if QUICKSTART else TINY
TEXT = ROOT / ".deps/text"


class LaunchedTest(ConclaveTest):
    steps = 5 if QUICKSTART else 12

    @classmethod
    def setUpClass(cls):
        if QUICKSTART and not TEXT.is_dir():
            raise unittest.SkipTest("no text for the quickstart: run tools/bootstrap --text")
        super().setUpClass()

    @classmethod
    def settings(cls):
        """What follows the experiment on the command line."""
        return ("--device", "cpu", "--set", f"vars.text={TEXT if QUICKSTART else cls.shared / 'text'}", *LAYOUT,
                *(("--stop-after", str(cls.steps)) if QUICKSTART else ()))

    def environment(self):
        # How sums split over threads is part of what must be equal, and launchers differ in what they set.
        return {**super().environment(), "OMP_NUM_THREADS": "1"}

    def command(self, *arguments):
        return [CONCLAVE, "run", str(EXPERIMENT), *self.settings(), *map(str, arguments)]

    def straight(self, *arguments):
        """The folder of the run that the launchers' are compared with: by `--ranks`, unbroken."""
        self.run_conclave("--ranks", RANKS, "--run-dir", "straight", *arguments)
        return self.dir / "straight"

    def assert_same_run(self, straight, run):
        self.assertEqual([step for event, step in metrics(run) if event == "step"], list(range(1, self.steps + 1)))
        self.assert_same_metrics(straight, run)

    def assert_ended_well(self, run, launcher, attempts=1):
        attempt = json.loads((run / "record.json").read_text())["attempts"]
        self.assertEqual(len(attempt), attempts)
        self.assertEqual((attempt[-1]["launcher"], attempt[-1]["ranks"]), (launcher, RANKS))
        for rank in range(RANKS):
            ended = json.loads((run / f"exit.{rank}.json").read_text())
            self.assertEqual((ended["code"], ended["step"]), (0, self.steps), f"rank {rank}: {ended}")
            self.assertTrue((run / f"log.{rank}.txt").exists())
