"""Runs of several ranks on one machine: the same numbers as one rank, and ends that name who is lost."""

import json
import os
import signal
import socket
import subprocess
import time

from harness import ConclaveTest, metrics

FP64 = ("--set", "precision.compute=fp64", "--set", "train.micro_batch=2")
LAYOUT = ("--ranks", "4", "--set", "parallel.tensor=2", "--set", "parallel.expert=2")
PIPELINE = ("--ranks", "2", "--set", "parallel.pipeline=2")


def exits(run):
    return {path.name: json.loads(path.read_text()) for path in sorted(run.glob("exit.*.json"))}


class Ranks(ConclaveTest):
    def assert_close_metrics(self, expected, found, tolerance=1e-9):
        expected, found = metrics(expected), metrics(found)
        self.assertEqual(sorted(expected), sorted(found))
        for key, row in expected.items():
            for name, value in row.items():
                if not isinstance(value, (int, float)) or isinstance(value, bool):
                    continue
                self.assertAlmostEqual(value, found[key][name], delta=tolerance * max(1, abs(value)), msg=f"{key} {name}")

    def test_the_same_run_and_resume_under_another_layout(self):
        self.run_conclave("--run-dir", "one", *FP64)
        said = self.run_conclave("--run-dir", "four", *FP64, *LAYOUT)
        self.assert_close_metrics(self.dir / "one", self.dir / "four")
        self.assertIn("4 ranks started by conclave: pipeline 1 x data 2 x tensor 2, experts over 2", said)
        self.assertEqual([entry["code"] for entry in exits(self.dir / "four").values()], [0] * 4)
        self.assertEqual(sorted(p.name for p in (self.dir / "four").glob("log.*.txt")), [f"log.{r}.txt" for r in range(4)])
        attempt = json.loads((self.dir / "four" / "record.json").read_text())["attempts"][0]
        self.assertEqual(attempt["ranks"], 4)
        self.assertEqual(attempt["layout"]["tensor"], 2)
        self.assertGreater(attempt["cost"]["sent"]["tensor"]["all_gather"]["bytes"], 0)

        self.run_conclave("--run-dir", "moved", *FP64, *LAYOUT, "--stop-after", "6")
        said = self.run_conclave("--run-dir", "moved", *FP64, *PIPELINE, "--resume")
        self.assertIn("parallel.pipeline: 1 -> 2 (changes speed only)", said)
        self.assert_close_metrics(self.dir / "one", self.dir / "moved")

    def test_lagged_loads_travel_in_the_checkpoint(self):
        lagged = (*FP64, "--set", "model.with.router.balance_scope=batch_lagged", "--quiet")
        self.run_conclave("--run-dir", "one", *lagged)
        self.run_conclave("--run-dir", "moved", *lagged, *LAYOUT, "--stop-after", "6")
        self.run_conclave("--run-dir", "moved", *lagged, *PIPELINE, "--resume")
        self.assert_close_metrics(self.dir / "one", self.dir / "moved")

    def test_a_signal_stops_all_ranks_at_one_step(self):
        process = self.start("--run-dir", "run", *LAYOUT, "--set", "train.micro_batch=2", "--set", "train.steps=100000")
        self.wait_for_steps(self.dir / "run", process, 2)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, said)
        ended = exits(self.dir / "run")
        self.assertEqual({entry["code"] for entry in ended.values()}, {75})
        steps = {entry["step"] for entry in ended.values()}
        self.assertEqual(len(steps), 1)
        self.assertTrue((self.dir / "run" / "checkpoints" / f"step-{steps.pop():08}" / "manifest.json").exists())

    def test_a_killed_rank_is_named_and_the_run_goes_on_bitwise(self):
        settings = ("--set", "train.micro_batch=2", "--set", "train.steps=400", "--set", "parallel.lost_after=2", *LAYOUT)
        self.run_conclave("--run-dir", "straight", *settings, "--quiet")
        process = self.start("--run-dir", "killed", *settings)
        self.wait_for_steps(self.dir / "killed", process, 8)
        os.kill(self.process_of_rank(process.pid, 2), signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 76, said)
        self.assertIn("rank 2", said)
        for rank in (0, 1, 3):
            entry = exits(self.dir / "killed")[f"exit.{rank}.json"]
            self.assertEqual(entry["code"], 76)
            self.assertIn("rank 2", entry["reason"])
        self.run_conclave("--run-dir", "killed", *settings, "--resume", "--quiet")
        self.assert_same_metrics(self.dir / "straight", self.dir / "killed")

    def test_ranks_that_mean_different_runs_are_told_apart(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks = []
        for rank, seed in enumerate((7, 7, 8)):
            environment = {**self.environment(), "RANK": str(rank), "WORLD_SIZE": "3", "LOCAL_RANK": str(rank),
                           "LOCAL_WORLD_SIZE": "3", "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1",
                           "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"}
            ranks.append(subprocess.Popen(
                self.command("--run-dir", "run", "--set", f"seed={seed}", "--set", "train.batch=12"), cwd=self.dir,
                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
        for rank in ranks:
            _, said = rank.communicate(timeout=120)
            self.assertEqual(rank.returncode, 3, said)
            self.assertIn("the same experiment", said)
            self.assertIn("rank 2", said)

    def verify(self, *arguments, code=0):
        done = subprocess.run([self.command()[0], "verify", self.command()[2], "--set", f"vars.text={self.shared / 'text'}",
                               "--ranks", "2", *arguments], cwd=self.dir, env=self.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_verify_finds_layouts_equal(self):
        self.assertIn("5 of 5 layouts compute the same run", self.verify("--set", "train.micro_batch=2", "--steps", "3"))

    def test_verify_says_when_a_loss_hangs_on_the_micro_batch(self):
        scope = ("--set", "model.with.router.balance_scope=micro_batch", "--layouts", "dp2", "--steps", "2")
        said = self.verify(*scope, "--set", "train.micro_batch=0", code=1)
        self.assertIn("its micro-batches have 4 sequences, one rank's 8: a loss over a micro-batch is another one", said)
        said = self.verify(*scope, "--set", "train.micro_batch=4")
        self.assertIn("1 of 1 layouts compute the same run", said)
        self.assertNotIn("its micro-batches", said)

    def wait_for_steps(self, run, process, steps):
        deadline = time.monotonic() + 120
        log = run / "metrics.jsonl"
        while not log.exists() or log.read_text().count('"event":"step"') < steps:
            if process.poll() is not None:
                self.fail(f"ended with {process.returncode}: {process.communicate()[1]}")
            self.assertLess(time.monotonic(), deadline, "no step within two minutes")
            time.sleep(0.02)

    def process_of_rank(self, supervisor, rank):
        for line in subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(supervisor)], text=True).split():
            with open(f"/proc/{line}/environ", "rb") as environment:
                if f"CONCLAVE_RANK={rank}".encode() in environment.read().split(b"\0"):
                    return int(line)
        self.fail(f"there is no process of rank {rank}")
