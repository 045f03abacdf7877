"""What other people's tools read of a run: Prometheus scrapes it while it trains, promtool checks the endpoint, TensorBoard opens
the event files.

Needs what `tools/bootstrap --oracles` brings; says so and is skipped without it.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

from harness import ConclaveTest, metrics

ORACLES = pathlib.Path(os.environ.get("CONCLAVE_ORACLES", ""))
PROMETHEUS = ORACLES.parent / "prometheus/bin"

EVENT_MONITORS = "monitors=[{use: monitor/jsonl}, {use: monitor/tensorboard}]"
EVENTS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1])
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return found


def read(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except OSError:
        return ""


class Monitors(ConclaveTest):
    def start_training(self, port, *settings):
        process = self.start("--run-dir", self.dir / "run", "--quiet", "--set", "train.steps=1M", "--set", "evaluate.every=20",
                             "--set", "checkpoint.with.every=1M", *settings, "--set",
                             f"monitors=[{{use: monitor/jsonl}}, {{use: monitor/prometheus, with: {{listen: '127.0.0.1:{port}'}}}}]")
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        return process

    @unittest.skipUnless((PROMETHEUS / "prometheus").exists(), f"no Prometheus in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_a_prometheus_scrapes_a_running_job(self):
        target, own = free_port(), free_port()
        self.start_training(target)
        (self.dir / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: run, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n")
        server = subprocess.Popen([PROMETHEUS / "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                                   f"--web.listen-address=127.0.0.1:{own}"], cwd=self.dir, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)

        def series(query):
            text = read(f"http://127.0.0.1:{own}/api/v1/query?query={urllib.parse.quote(query)}")
            return json.loads(text)["data"]["result"] if text else []

        for name in ("training_loss", "learning_rate", "tokens_per_sec", "conclave_grad_norm"):
            found = until(lambda: series(name), 60, f"Prometheus has {name}")
            self.assertGreater(float(found[0]["value"][1]), 0)
        self.assertEqual(series("up")[0]["value"][1], "1")
        self.assertEqual({s["metric"]["domain"] for s in series("conclave_domain_share_ratio")}, {"prose", "lists"})
        until(lambda: series("increase(conclave_tokens_total[10s]) > 0"), 60, "the token counter grows")

    @unittest.skipUnless((PROMETHEUS / "promtool").exists(), f"no promtool in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_promtool_finds_nothing_but_the_short_name(self):
        port = free_port()
        self.start_training(port)
        url = f"http://127.0.0.1:{port}/metrics"
        text = until(lambda: (t := read(url)) and "conclave_evaluation_nll_nats" in t and t, 60, "an evaluation is exported")
        found = subprocess.run([PROMETHEUS / "promtool", "check", "metrics"], input=text, text=True, capture_output=True)
        complaints = [line for line in (found.stdout + found.stderr).splitlines() if line]
        # The name that dashboards of the field know; the rule is about its `_sec`.
        self.assertEqual(complaints, ["tokens_per_sec metric names should not contain abbreviated units"])
        without = "".join(line for line in text.splitlines(True) if "tokens_per_sec" not in line or "second" in line)
        subprocess.run([PROMETHEUS / "promtool", "check", "metrics"], input=without, text=True, check=True)

    def check_tensorboard(self):
        """TensorBoard shows each step of metrics.jsonl once, with its value."""
        folder = next(p.parent for p in (self.dir / "run").rglob("events.out.tfevents.*"))
        done = subprocess.run([sys.executable, "-c", EVENTS, folder], text=True, capture_output=True, timeout=120,
                              env={**os.environ, "PYTHONPATH": str(ORACLES)})
        self.assertEqual(done.returncode, 0, done.stderr)
        scalars = json.loads(done.stdout.splitlines()[-1])
        loss = next(points for tag, points in scalars.items() if tag.endswith("loss"))
        expected = {step: row["loss"] for (event, step), row in metrics(self.dir / "run").items() if event == "step"}
        self.assertEqual([step for step, _ in loss], sorted(expected))
        for step, value in loss:
            self.assertAlmostEqual(value, expected[step], delta=1e-6 * abs(value))

    @unittest.skipUnless((ORACLES / "tensorboard").is_dir(), f"no TensorBoard in {ORACLES}: run tools/bootstrap --oracles")
    def test_tensorboard_reads_the_events(self):
        self.run_conclave("--run-dir", "run", "--set", EVENT_MONITORS)
        self.check_tensorboard()

    @unittest.skipUnless((ORACLES / "tensorboard").is_dir(), f"no TensorBoard in {ORACLES}: run tools/bootstrap --oracles")
    def test_tensorboard_shows_each_step_of_a_killed_and_resumed_run_once(self):
        settings = ("--set", EVENT_MONITORS, "--set", "train.steps=1M", "--set", "checkpoint.with.every=1M", "--set", "evaluate.batches=0")
        self.run_conclave("--run-dir", "run", "--stop-after", 10, *settings)
        process = self.start("--run-dir", self.dir / "run", "--resume", "--quiet", *settings)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        until(lambda: self.steps_of_attempt(1) > 5, 60, "some steps after the checkpoint")
        process.kill()
        process.wait()
        lost = self.steps_of_attempt(1)
        self.run_conclave("--run-dir", "run", "--resume", "--stop-after", 10 + lost + 5, *settings)
        self.assertEqual(self.steps_of_attempt(2), lost + 5)
        self.check_tensorboard()

    def steps_of_attempt(self, attempt):
        """How many step rows of that attempt metrics.jsonl holds."""
        file = self.dir / "run/metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return sum(row["event"] == "step" and row["attempt"] == attempt for row in rows)
