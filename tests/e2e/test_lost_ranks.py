"""Random faults in runs of 4 ranks: a named cause, in bounded time, with the exit code that says what to do, and a restart
that ends with the numbers of an unbroken run."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from harness import ConclaveTest, metrics
from test_ranks import exits

DRILLS = int(os.environ.get("CONCLAVE_DRILLS", "10"))
SETTINGS = ("--ranks", "4", "--set", "train.micro_batch=2", "--set", "train.steps=3000", "--set", "checkpoint.with.every=3",
            "--set", "parallel.lost_after=3", "--set", "parallel.timeout=15", "--set", "evaluate.every=0", "--set", "evaluate.batches=0")
LAYOUTS = (("--set", "parallel.tensor=2", "--set", "parallel.expert=2"), ("--set", "parallel.pipeline=2"),
           ("--set", "parallel.data=4", "--set", "parallel.expert=4"))
PATIENCE = 90  # seconds from a fault to the end of every process


class LostRanks(ConclaveTest):
    def processes(self, supervisor):
        found = {}
        for pid in subprocess.run(["ps", "-o", "pid=", "--ppid", str(supervisor)], text=True, stdout=subprocess.PIPE).stdout.split():
            try:
                variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"CONCLAVE_RANK="):
                    found[int(variable.partition(b"=")[2])] = int(pid)
        return found

    def wait_for_rows(self, run, process, rows):
        deadline = time.monotonic() + 120
        log = run / "metrics.jsonl"
        while not log.exists() or log.read_text().count('"event":"step"') < rows:
            if process.poll() is not None:
                self.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
            self.assertLess(time.monotonic(), deadline, "no step within two minutes")
            time.sleep(0.01)

    def drill(self, draw, number):
        run = self.dir / f"run{number}"
        layout = draw.choice(LAYOUTS)
        kind = ("kill", "stop", "kill at the start")[number % 3]
        victim = draw.randrange(4)
        process = self.start("--run-dir", run, *SETTINGS, *layout)
        if kind == "kill at the start":
            deadline = time.monotonic() + 60
            while len(self.processes(process.pid)) < 4:
                self.assertLess(time.monotonic(), deadline)
            time.sleep(draw.uniform(0, 1.5))
        else:
            self.wait_for_rows(run, process, draw.randint(2, 9))
            time.sleep(draw.uniform(0, 0.5))
        pid = self.processes(process.pid)[victim]
        os.kill(pid, signal.SIGSTOP if kind == "stop" else signal.SIGKILL)
        hit = time.monotonic()
        _, said = process.communicate(timeout=PATIENCE)
        what = f"drill {number}: {kind} of rank {victim}, {' '.join(layout)}"
        self.assertEqual(process.returncode, 76, f"{what}: {said}")
        self.assertIn(f"rank {victim}", said, what)
        if kind != "kill at the start":
            named = [entry for name, entry in exits(run).items() if name != f"exit.{victim}.json"]
            self.assertTrue(named, what)
            for entry in named:
                self.assertEqual(entry["code"], 76, f"{what}: {entry}")
                self.assertIn(f"rank {victim}", entry["reason"], what)
        print(f"{what}: all ended after {time.monotonic() - hit:.1f} s")
        end = "24"
        resume = ("--resume",) if (run / "record.json").exists() else ()
        self.run_conclave("--run-dir", run, *SETTINGS, *layout, "--stop-after", end, "--quiet", *resume)
        straight = self.shared / ("straight" + "".join(layout).replace("--set", "-"))
        if not straight.exists():
            self.run_conclave("--run-dir", straight, *SETTINGS, *layout, "--stop-after", end, "--quiet")
        expected, found = metrics(straight), metrics(run)
        for key, row in expected.items():
            for either in (row, found[key]):  # an attempt's first step also exchanges the names of losses
                either.pop("sent_bytes_by_group_collective", None)
            self.assertEqual(row, found[key], f"{what}: {key} differs")
        shutil.rmtree(run)

    def test_random_faults(self):
        draw = random.Random(int(os.environ.get("CONCLAVE_DRILL_SEED", "5")))
        for number in range(DRILLS):
            with self.subTest(number=number):
                self.drill(draw, number)
