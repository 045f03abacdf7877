"""What other people's tools read of a run: Prometheus scrapes it while it trains and finds its ranks, promtool checks the
endpoint, TensorBoard opens the event files.

Needs what `tools/bootstrap --oracles` brings; says so and is skipped without it.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

from harness import CONCLAVE, ConclaveTest, TINY, metrics

ORACLES = pathlib.Path(os.environ.get("CONCLAVE_ORACLES", ""))
PROMETHEUS = ORACLES.parent / "prometheus/bin"

ROOT = TINY.parents[2]
# The server's side, as the pages for users show it.
PAGES = [ROOT / "docs/clusters.md", ROOT / "plugins/monitor/prometheus/README.md"]
NEVER_ENDING = ("--set", "train.steps=1M", "--set", "checkpoint.with={every: 1M, keep_every: 0}", "--set", "evaluate.every=20")

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


def scrape_configs(page):
    """The part of Prometheus's configuration that a page shows."""
    return re.search(r"```yaml\n(scrape_configs:\n.*?)```", page.read_text(), re.DOTALL)[1]


class Monitors(ConclaveTest):
    def begin(self, *arguments, **keywords):
        """A run in the background that ends with the test."""
        process = self.start("--run-dir", self.dir / "run", "--quiet", *NEVER_ENDING, *arguments, **keywords)
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        return process

    def start_training(self, port, *settings):
        return self.begin(*settings, "--set", f"monitors=[{{use: monitor/jsonl}}, {{use: monitor/prometheus, with: {{listen: '127.0.0.1:{port}'}}}}]")

    def start_server(self, config):
        """A Prometheus with that configuration; returns what asks it: series(query)."""
        own = free_port()
        (self.dir / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s}}\n{config}")
        server = subprocess.Popen([PROMETHEUS / "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                                   f"--web.listen-address=127.0.0.1:{own}"], cwd=self.dir, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)

        def series(query):
            text = read(f"http://127.0.0.1:{own}/api/v1/query?query={urllib.parse.quote(query)}")
            return json.loads(text)["data"]["result"] if text else []

        return series

    def targets(self):
        """What the target files of the run say, by their names."""
        return {file.name: json.loads(file.read_text()) for file in sorted((self.dir / "run/prometheus").glob("*.json"))}

    def cluster(self, *extends):
        """The tiny experiment as experiments/base/cluster.yaml would have it on many machines."""
        experiment = self.dir / "cluster.yaml"
        experiment.write_text(json.dumps({"conclave": 1, "name": "on-a-cluster",
                                          "extends": [str(TINY), str(ROOT / "experiments/base/cluster.yaml"), *extends]}))
        return experiment

    def test_an_experiment_on_a_cluster_is_valid(self):
        for ranks in ("1", "4"):
            done = subprocess.run([CONCLAVE, "check", self.cluster(), "--ranks", ranks, "--set", "train.micro_batch=2", "--set",
                                   f"vars.text={self.shared / 'text'}"], env=self.environment(), text=True, capture_output=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.startswith("OK: "), done.stdout)
            # The one thing to think about, and the file says what.
            self.assertEqual([line.split(": ")[1:3] for line in done.stderr.splitlines()],
                             [["hint", "monitors.prometheus.with.listen"]], done.stderr)

    def test_each_rank_tells_where_it_listens_and_one_rank_writes_the_rows(self):
        with socket.socket() as first, socket.socket() as second:  # two ports in a row; the second stays taken
            while True:
                first.bind(("127.0.0.1", 0))
                port = first.getsockname()[1]
                try:
                    second.bind(("127.0.0.1", port + 1))
                    break
                except OSError:
                    first.close()
                    first = socket.socket()
            second.listen()
            first.close()
            process = self.begin("--ranks", "2", "--set", "train.micro_batch=2", "--set",
                                 f"monitors.prometheus.with.listen='127.0.0.1:{port}'", experiment=self.cluster())
            targets = until(lambda: len(t := self.targets()) == 2 and t, 60, "two target files")
        moved = int(targets["targets.1.json"][0]["targets"][0].split(":")[1])
        self.assertTrue(port + 2 <= moved <= port + 16, moved)
        for rank, at in enumerate((port, moved)):
            self.assertEqual(targets[f"targets.{rank}.json"], [{"targets": [f"127.0.0.1:{at}"],
                                                                "labels": {"run": "on-a-cluster", "rank": str(rank)}}])
            page = until(lambda: (t := read(f"http://127.0.0.1:{at}/metrics")) and "conclave_sent_bytes_total" in t and t, 60,
                         f"bytes that rank {rank} sent")
            self.assertRegex(page, "\n# TYPE conclave_sent_bytes_total counter\n")
            self.assertRegex(page, rf'\nconclave_sent_bytes_total{{collective="reduce_scatter",group="data",rank="{rank}"}} [1-9]')
        process.terminate()
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75)
        self.assertEqual(self.targets(), {})
        said = f"port {port + 1} of 127.0.0.1 is in use: listening on {moved} instead"
        self.assertNotIn(said, (self.dir / "run/log.0.txt").read_text())
        self.assertIn(said, (self.dir / "run/log.1.txt").read_text())
        rows = [json.loads(line) for line in (self.dir / "run/metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows if row["event"] == "step"]
        self.assertEqual(steps, list(range(1, len(steps) + 1)))
        self.assertEqual(len(list((self.dir / "run/tensorboard").iterdir())), 1)

    def test_one_endpoint_on_each_machine(self):
        node = ("--set", "train.micro_batch=2", "--set",
                f"monitors.prometheus.with={{listen: '127.0.0.1:{free_port()}', placement: node, targets_file: prometheus/targets}}")
        process = self.begin("--ranks", "2", *node, experiment=self.cluster())
        until(lambda: (file := self.dir / "run/metrics.jsonl").exists() and '"event":"step"' in file.read_text(), 60, "a step")
        self.assertEqual(list(self.targets()), ["targets.0.json"])
        process.terminate()
        process.communicate(timeout=120)
        # As if each rank had a machine of its own.
        port = free_port()
        ranks = [subprocess.Popen(self.command("--run-dir", self.dir / "run", "--resume", "--quiet", *NEVER_ENDING, *node,
                                               experiment=self.cluster()), cwd=self.dir, stderr=subprocess.PIPE, text=True,
                                  env={**self.environment(), "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0",
                                       "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1",
                                       "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "False"})
                 for rank in range(2)]
        for rank in ranks:
            self.addCleanup(rank.communicate)
            self.addCleanup(rank.kill)
        targets = until(lambda: len(t := self.targets()) == 2 and t, 60, "an endpoint for each machine")
        self.assertEqual({name: target[0]["labels"]["rank"] for name, target in targets.items()},
                         {"targets.0.json": "0", "targets.1.json": "1"})
        for rank in ranks:
            rank.terminate()
        for rank in ranks:
            self.assertEqual(rank.wait(120), 75)
        self.assertEqual(self.targets(), {})

    @unittest.skipUnless((PROMETHEUS / "promtool").exists(), f"no promtool in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_the_configuration_on_our_pages_is_right(self):
        for page in PAGES:
            folder = self.dir / page.stem
            folder.mkdir()
            (folder / "targets.0.json").write_text('[{"targets": ["a:1"], "labels": {"rank": "0"}}]')
            (folder / "prometheus.yml").write_text(
                scrape_configs(page).replace("/shared/runs/my-run/prometheus", str(folder)))
            found = subprocess.run([PROMETHEUS / "promtool", "check", "config", folder / "prometheus.yml"], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(found.returncode, 0, found.stdout)
            self.assertNotIn("WARNING", found.stdout)  # it found the target file

    @unittest.skipUnless((PROMETHEUS / "prometheus").exists(), f"no Prometheus in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_a_prometheus_finds_all_ranks_and_loses_them_with_the_run(self):
        process = self.begin("--ranks", "2", "--set", "train.micro_batch=2", "--set",
                             f"monitors.prometheus.with.listen='127.0.0.1:{free_port()}'", experiment=self.cluster())
        series = self.start_server(scrape_configs(PAGES[0]).replace("/shared/runs/my-run", str(self.dir / "run"))
                                   .replace("refresh_interval: 30s", "refresh_interval: 1s"))
        up = until(lambda: len(found := series('up{run="on-a-cluster"} == 1')) == 2 and found, 60, "two targets that are up")
        self.assertEqual({s["metric"]["rank"] for s in up}, {"0", "1"})
        # Without honor_labels there were an exported_rank.
        sent = until(lambda: len(found := series('conclave_sent_bytes_total{group="data",collective="all_gather"}')) == 2 and found,
                     60, "what two ranks sent")
        for one in sent:
            self.assertEqual(set(one["metric"]), {"__name__", "collective", "group", "instance", "job", "rank", "run"})
        process.terminate()
        process.communicate(timeout=120)
        until(lambda: series("up") == [], 60, "no target is left")

    @unittest.skipUnless((PROMETHEUS / "prometheus").exists(), f"no Prometheus in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_a_prometheus_scrapes_a_running_job(self):
        target = free_port()
        self.start_training(target)
        series = self.start_server(f"scrape_configs: [{{job_name: run, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n")
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
