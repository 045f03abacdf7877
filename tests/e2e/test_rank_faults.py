"""What else befalls a rank of a run: the disk is full, it sees another folder, starts late or never, its network is cut. Every
time a named cause, an end in bounded time, and a restart with the numbers of an unbroken run.

Ranks are started one by one, as a launcher would. Needs the right to mount and to make network namespaces; says so and is
skipped without it. CONCLAVE_DRILLS and CONCLAVE_DRILL_SEED repeat them with other moments and victims.
"""

import os
import random
import socket
import subprocess
import time
import unittest

from harness import ConclaveTest, metrics
from test_ranks import exits

RANKS = 4
DRILLS = max(1, int(os.environ.get("CONCLAVE_DRILLS", "4")) // 4)
SETTINGS = ("--set", "train.micro_batch=2", "--set", "train.steps=3000", "--set", "checkpoint.with.every=3",
            "--set", "parallel.lost_after=3", "--set", "parallel.timeout=15", "--set", "evaluate.every=0", "--set", "evaluate.batches=0",
            "--set", "parallel.tensor=2", "--set", "parallel.expert=2")
END = ("--stop-after", "24", "--quiet")
PATIENCE = 90  # seconds from a fault to the end of every process


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def size_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def as_root(*command):
    done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode != 0:
        raise unittest.SkipTest(f"SKIPPED: {' '.join(command)}: {done.stderr.strip()}")


class RankFaults(ConclaveTest):
    def variables(self, rank, port, address="127.0.0.1"):
        # As `--ranks` sets it: how sums split over threads is part of what must be equal.
        return {**self.environment(), "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(RANKS), "MASTER_ADDR": address, "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "drill", "TORCHELASTIC_USE_AGENT_STORE": "False"}

    def start_rank(self, rank, port, *arguments, before=(), address="127.0.0.1", **more):
        process = subprocess.Popen([*before, *self.command(*SETTINGS, *arguments)], cwd=self.dir,
                                   env={**self.variables(rank, port, address), **more}, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.kill)
        return process

    def start_all(self, *arguments, before=lambda rank: (), address="127.0.0.1", **more):
        port = free_port()
        return [self.start_rank(rank, port, *arguments, before=before(rank), address=address, **more) for rank in range(RANKS)]

    def wait_for_steps(self, run, processes, rows):
        deadline = time.monotonic() + 120
        log = run / "metrics.jsonl"
        while not log.exists() or log.read_text().count('"event":"step"') < rows:
            for process in processes:
                if process.poll() is not None:
                    self.fail(f"ended with {process.returncode}: {process.communicate()[0]}")
            self.assertLess(time.monotonic(), deadline, "no step within two minutes")
            time.sleep(0.01)

    def ends(self, processes):
        """Exit codes and words of all, which end in bounded time."""
        begin = time.monotonic()
        said = [process.communicate(timeout=max(1, begin + PATIENCE - time.monotonic()))[0] for process in processes]
        self.ended_after = time.monotonic() - begin
        return [process.returncode for process in processes], said

    def straight(self):
        straight = self.shared / "straight_faults"
        if not straight.exists():
            self.run_conclave("--ranks", RANKS, "--run-dir", straight, *SETTINGS, *END, "--set", "checkpoint.with.keep=20")
        return straight

    def assert_goes_on(self, run, what, *arguments):
        self.run_conclave("--ranks", RANKS, "--run-dir", run, *SETTINGS, *END, "--resume", *arguments)
        expected, found = metrics(self.straight()), metrics(run)
        for key, row in expected.items():
            for either in (row, found[key]):  # an attempt's first step also exchanges the names of losses
                either.pop("sent_bytes_by_group_collective", None)
            self.assertEqual(row, found[key], f"{what}: {key} differs")

    def drills(self, drill):
        draw = random.Random(int(os.environ.get("CONCLAVE_DRILL_SEED", "5")))
        for number in range(DRILLS):
            with self.subTest(number=number):
                print(f"{drill(draw, self.dir / f'run{number}')}: all ended after {self.ended_after:.1f} s")

    def test_the_disk_fills_up_under_one_rank(self):
        def drill(draw, run):
            small = run.with_name(run.name + "-disk")
            small.mkdir()
            one = size_of(self.straight() / "checkpoints/step-00000012")
            # Room for one to three checkpoints and a part of the next, which some rank cannot write.
            room = int(one * draw.uniform(1.2, 3.8)) + 2 * size_of(self.straight()) + 65536
            as_root("mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(small))
            self.addCleanup(subprocess.run, ["umount", "-l", str(small)])
            processes = self.start_all("--run-dir", small / "run", "--set", "checkpoint.with.keep=20")
            codes, said = self.ends(processes)
            what = f"full disk, exit codes {codes}"
            self.assertEqual(codes, [5] * RANKS, f"{what}: {said}")
            for text in said:
                self.assertRegex(text, r"rank \d: .*No space left on device", what)
            as_root("mount", "-o", "remount,size=256m", str(small))
            self.assert_goes_on(small / "run", what, "--set", "checkpoint.with.keep=20")
            return what
        self.drills(drill)

    def test_one_rank_sees_another_folder(self):
        def drill(draw, run):
            victim = draw.randrange(RANKS)
            # A mount namespace of its own, in which the checkpoints' folder becomes another one.
            processes = self.start_all("--run-dir", run, before=lambda rank: ("unshare", "-m") if rank == victim else ())
            self.wait_for_steps(run, processes, draw.randint(4, 9))
            as_root("nsenter", "-t", str(processes[victim].pid), "-m",
                    "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(run / "checkpoints"))
            codes, said = self.ends(processes)
            what = f"another folder for rank {victim}, exit codes {codes}"
            self.assertEqual(codes, [5] * RANKS, f"{what}: {said}")
            for text in said if victim != 0 else ():
                self.assertIn(f"rank {victim}: what rank 0 made there is not seen by this rank", text, what)
            self.assert_goes_on(run, what)
            return what
        as_root("unshare", "-m", "true")
        self.drills(drill)

    def test_one_rank_starts_late(self):
        def drill(draw, run):
            victim, late, port = draw.randrange(RANKS), draw.uniform(0.5, 5), free_port()
            processes = [self.start_rank(rank, port, *END, "--run-dir", run) for rank in range(RANKS) if rank != victim]
            time.sleep(late)
            processes.append(self.start_rank(victim, port, *END, "--run-dir", run))
            codes, said = self.ends(processes)
            what = f"rank {victim} {late:.1f} s late"
            self.assertEqual(codes, [0] * RANKS, f"{what}: {said}")
            self.assert_goes_on(run, what)
            return what
        self.drills(drill)

    def test_one_rank_never_starts(self):
        victim, port = 2, free_port()
        run = self.dir / "run"
        processes = [self.start_rank(rank, port, "--run-dir", run, CONCLAVE_RENDEZVOUS_TIMEOUT="4")
                     for rank in range(RANKS) if rank != victim]
        codes, said = self.ends(processes)
        for text in said:
            self.assertIn(f"rank {victim}", text)
        self.assertTrue(set(codes) <= {3, 76}, f"{codes}: {said}")

    def test_the_network_of_one_rank_is_cut(self):
        tag = f"cv{os.getpid() % 10000}"
        as_root("ip", "link", "add", f"{tag}b", "type", "bridge")
        self.addCleanup(subprocess.run, ["ip", "link", "del", f"{tag}b"], capture_output=True)
        as_root("ip", "link", "set", f"{tag}b", "up")
        for rank in range(RANKS):
            space = f"{tag}n{rank}"
            as_root("ip", "netns", "add", space)
            self.addCleanup(subprocess.run, ["ip", "netns", "del", space], capture_output=True)
            as_root("ip", "link", "add", f"{tag}v{rank}", "type", "veth", "peer", "name", "eth0", "netns", space)
            as_root("ip", "link", "set", f"{tag}v{rank}", "master", f"{tag}b", "up")
            as_root("ip", "-n", space, "addr", "add", f"10.77.0.{rank + 1}/24", "dev", "eth0")
            as_root("ip", "-n", space, "link", "set", "eth0", "up")
            as_root("ip", "-n", space, "link", "set", "lo", "up")

        def drill(draw, run):
            victim = draw.randrange(RANKS)
            for rank in range(RANKS):
                as_root("ip", "link", "set", f"{tag}v{rank}", "up")
            processes = self.start_all("--run-dir", run, before=lambda rank: ("ip", "netns", "exec", f"{tag}n{rank}"),
                                       address="10.77.0.1", GLOO_SOCKET_IFNAME="eth0")
            self.wait_for_steps(run, processes, draw.randint(4, 9))
            time.sleep(draw.uniform(0, 0.5))
            as_root("ip", "link", "set", f"{tag}v{victim}", "down")
            codes, said = self.ends(processes)
            what = f"network of rank {victim} cut, exit codes {codes}"
            self.assertEqual(codes, [76] * RANKS, f"{what}: {said}")
            if victim != 0:  # who sits at the store can say who is gone; the others know that the store is
                self.assertIn(f"rank {victim}", said[0], what)
            for text in said:
                self.assertRegex(text, r"rank \d|the store", what)
            self.assert_goes_on(run, what)
            return what
        self.drills(drill)
