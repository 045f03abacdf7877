"""Random faults in runs of 4 and 8 ranks: a named cause, an end in bounded time, the exit code that says what to do,
and a restart that ends with the numbers of an unbroken run.

CONCLAVE_DRILLS says how many (10), CONCLAVE_DRILL_SEED which ones; the kinds take turns.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

from faults import Disk, Network, Ranks
from harness import ConclaveTest, metrics
from test_ranks import exits

DRILLS = int(os.environ.get("CONCLAVE_DRILLS", "10"))
SEED = int(os.environ.get("CONCLAVE_DRILL_SEED", "5"))
KINDS = ("killed", "stopped", "killed at the start", "cut off", "disk full", "late", "too late")
END = 24  # steps of a run with its restart
SETTINGS = ("--set", "train.steps=3000", "--set", "checkpoint.with.every=3", "--set", "parallel.lost_after=3", "--set",
            "parallel.timeout=15", "--set", "evaluate.every=0", "--set", "evaluate.batches=0")
LAYOUTS = {4: ("tensor=2 expert=2", "pipeline=2", "data=4 expert=4"),
           8: ("tensor=2 expert=4", "pipeline=2 tensor=2 expert=2", "data=8 expert=2")}
PATIENCE = 90  # seconds from a fault to the end of every process
WAIT_FOR_LATE = 8  # seconds, where it comes too late


class Drill:
    """One run that something happens to."""

    def __init__(self, draw, number):
        self.number, self.kind = number, KINDS[number % len(KINDS)]
        self.hit = self.ended = None  # when it happened and when the last process was gone; None: nothing is lost
        self.size = 8 if number % 5 == 4 else 4
        self.layout = draw.choice(LAYOUTS[self.size])
        self.victim = draw.randrange(self.size)
        self.others = [rank for rank in range(self.size) if rank != self.victim]
        self.settings = [*SETTINGS, "--set", f"train.micro_batch={8 // self.size}"]
        for size in self.layout.split():
            self.settings += ["--set", f"parallel.{size}"]

    def __str__(self):
        return f"drill {self.number}: rank {self.victim} of {self.size} is {self.kind}, {self.layout}"


class LostRanks(ConclaveTest):
    maxDiff = None

    def environment(self):
        return {**super().environment(), "OMP_NUM_THREADS": "1"}

    # ---- what happens to a rank; each returns the run directory

    def killed(self, drill, draw):
        return self.signalled(drill, draw, signal.SIGKILL)

    def stopped(self, drill, draw):
        return self.signalled(drill, draw, signal.SIGSTOP)

    def signalled(self, drill, draw, number):
        run = self.dir / "run"
        process = self.start("--run-dir", run, "--ranks", drill.size, *drill.settings)
        self.addCleanup(process.kill)
        self.wait_for_rows(run, process.poll, lambda: process.communicate()[1], draw.randint(2, 9))
        time.sleep(draw.uniform(0, 0.5))
        os.kill(self.processes(process.pid)[drill.victim], number)
        drill.hit = time.monotonic()
        self.supervised_end(drill, process)
        self.assert_told(drill, run, drill.others, f"rank {drill.victim}")
        return run

    def killed_at_the_start(self, drill, draw):
        process = self.start("--run-dir", self.dir / "run", "--ranks", drill.size, *drill.settings)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 60
        while len(self.processes(process.pid)) < drill.size:
            self.assertLess(time.monotonic(), deadline)
        time.sleep(draw.uniform(0, 1.5))
        os.kill(self.processes(process.pid)[drill.victim], signal.SIGKILL)
        drill.hit = time.monotonic()
        self.supervised_end(drill, process)
        return self.dir / "run"

    def supervised_end(self, drill, process):
        _, said = process.communicate(timeout=PATIENCE)
        drill.ended = time.monotonic()
        self.assertEqual(process.returncode, 76, said)
        self.assertIn(f"rank {drill.victim}", said)

    def cut_off(self, drill, draw):
        run = self.dir / "run"
        with Network(drill.size) as network, self.ranks(drill, run, network) as ranks:
            for rank in range(drill.size):
                ranks.start(rank)
            self.wait_for_rows(run, ranks.poll, ranks.all_said, draw.randint(2, 9))
            time.sleep(draw.uniform(0, 0.5))
            draw.choice((network.unplug, network.take_down))(drill.victim)
            drill.hit = time.monotonic()
            self.assert_codes(drill, ranks, {rank: 76 for rank in range(drill.size)})
        self.assert_told(drill, run, drill.others, f"rank {drill.victim}")
        self.assert_told(drill, run, [drill.victim], "rank 0" if drill.victim != 0 else r"rank [1-7]")
        return run

    def disk_full(self, drill, draw):
        with Disk(self.dir) as disk, self.ranks(drill, disk.path / "run") as ranks:
            run = disk.path / "run"
            for rank in range(drill.size):
                ranks.start(rank, *(disk.OUTSIDER if rank == drill.victim else disk.MEMBER))
            self.wait_for_rows(run, ranks.poll, ranks.all_said, draw.randint(2, 9))
            time.sleep(draw.uniform(0, 0.5))
            disk.fill()
            drill.hit = time.monotonic()
            self.assert_codes(drill, ranks, {rank: 5 for rank in range(drill.size)})
            for rank in range(drill.size):
                self.assertRegex(ranks.said(rank), f"rank {drill.victim}: .*No space left on device")
                self.assertIn(str(run), ranks.said(rank))
            disk.make_room()
            shutil.copytree(run, self.dir / "run")
        return self.dir / "run"

    def late(self, drill, draw):
        with self.ranks(drill, self.dir / "run", None, "--stop-after", END) as ranks:
            for rank in drill.others:
                ranks.start(rank)
            time.sleep(draw.uniform(1, 8))
            ranks.start(drill.victim)
            self.assert_codes(drill, ranks, {rank: 0 for rank in range(drill.size)})
        return self.dir / "run"

    def too_late(self, drill, _):
        with self.ranks(drill, self.dir / "run") as ranks:
            ranks.environment["CONCLAVE_RENDEZVOUS_TIMEOUT"] = str(WAIT_FOR_LATE)
            for rank in drill.others:
                ranks.start(rank)
            drill.hit = time.monotonic()
            self.assert_codes(drill, ranks, {rank: 76 for rank in drill.others})
            no_host = "rank 0 has not come"
            for rank in drill.others:
                self.assertIn(no_host if drill.victim == 0 else f"rank {drill.victim} of {drill.size} did not come",
                              ranks.said(rank))
            ranks.start(drill.victim)
            self.assert_codes(drill, ranks, {rank: 76 for rank in range(drill.size)})
            self.assertIn(no_host if drill.victim != 0 else f"ranks 1-{drill.size - 1} of {drill.size} did not come",
                          ranks.said(drill.victim))
        return self.dir / "run"

    # ---- what must be seen

    def assert_codes(self, drill, ranks, expected):
        try:
            codes = ranks.wait(time.monotonic() + PATIENCE)
        except subprocess.TimeoutExpired as there:
            self.fail(f"does not end: {there}; {ranks.all_said()}")
        drill.ended = drill.ended or time.monotonic()
        self.assertEqual(codes, expected, ranks.all_said())

    def assert_told(self, drill, run, by, whom):
        """What those ranks leave: 76, the one that was lost, and the reason once in each log."""
        for rank in by:
            entry = exits(run)[f"exit.{rank}.json"]
            self.assertEqual(entry["code"], 76, entry)
            self.assertRegex(entry["reason"], whom)
            log = (run / f"log.{rank}.txt").read_text()
            self.assertEqual(log.count(entry["reason"]), 1, log)

    def assert_restart(self, drill, run, expected):
        committed = [int(path.parent.name[5:]) for path in run.glob("checkpoints/step-*/manifest.json")]
        resume = ("--resume",) if (run / "record.json").exists() else ()
        said = self.run_conclave("--run-dir", run, "--ranks", drill.size, *drill.settings, "--stop-after", END,
                                 "--quiet", *resume)
        attempt = json.loads((run / "record.json").read_text())["attempts"][-1]
        self.assertEqual(attempt["first_step"], max(committed, default=0), f"checkpoints {committed}: {said}")
        self.assert_same_rows(expected, run)

    def assert_same_rows(self, expected, run):
        expected, found = metrics(expected), metrics(run)
        for key, row in expected.items():
            for either in (row, found[key]):  # an attempt's first step also exchanges the names of losses
                either.pop("sent_bytes_by_group_collective", None)
            self.assertEqual(row, found[key], f"{key} differs")

    # ---- helpers

    def ranks(self, drill, run, network=None, *arguments):
        command = self.command("--run-dir", run, *drill.settings, *arguments)
        return Ranks(command, self.dir, self.environment(), drill.size, network)

    def straight(self, drill):
        run = self.shared / f"straight {drill.size} {drill.layout}"
        if not run.exists():
            self.run_conclave("--run-dir", run, "--ranks", drill.size, *drill.settings, "--stop-after", END, "--quiet")
        return run

    def processes(self, supervisor):
        found = {}
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(supervisor)], text=True, stdout=subprocess.PIPE)
        for pid in children.stdout.split():
            try:
                variables = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            for variable in variables:
                if variable.startswith(b"CONCLAVE_RANK="):
                    found[int(variable.partition(b"=")[2])] = int(pid)
        return found

    def wait_for_rows(self, run, poll, said, rows):
        deadline = time.monotonic() + 120
        log = run / "metrics.jsonl"
        while not log.exists() or log.read_text().count('"event":"step"') < rows:
            if poll() is not None:
                self.fail(f"ended with {poll()} before anything happened to it: {said()}")
            self.assertLess(time.monotonic(), deadline, "no step within two minutes")
            time.sleep(0.01)

    def test_random_faults(self):
        draw = random.Random(SEED)
        took = collections.defaultdict(list)
        for number in range(DRILLS):
            drill = Drill(draw, number)
            own = random.Random(draw.random())  # a drill that is cut short draws no less
            with self.subTest(str(drill)):
                self.setUp()  # a folder of its own
                straight = self.straight(drill)
                run = getattr(self, drill.kind.replace(" ", "_"))(drill, own)
                if drill.hit is None:
                    print(f"{drill}: all went on", flush=True)
                    self.assert_same_rows(straight, run)
                else:
                    took[drill.kind].append(drill.ended - drill.hit)
                    print(f"{drill}: all ended after {took[drill.kind][-1]:.1f} s", flush=True)
                    self.assert_restart(drill, run, straight)
                shutil.rmtree(self.dir)
        for kind, seconds in took.items():
            print(f"{len(seconds)} x {kind}: the slowest end came after {max(seconds):.1f} s")
