"""The alert rules and the dashboard, against promtool, a real Prometheus and what real runs export.

Needs what `tools/bootstrap --oracles` brings; says so and is skipped without it.
"""

import json
import re
import subprocess
import unittest
import urllib.parse

from harness import TINY, ConclaveTest
from test_monitors import NEVER_ENDING, PROMETHEUS, ROOT, free_port, read, until

ALERTS = ROOT / "tools/prometheus/alerts.yaml"
DASHBOARD = json.loads((ROOT / "tools/grafana/conclave.json").read_text())
# Of the server itself.
THE_SERVERS = {"up", "ALERTS"}
OURS = re.compile(r"\b(?:conclave_\w+|training_loss|learning_rate|tokens_per_sec)\b")


def rules():
    """The expressions of the alerts by name, read without a YAML library from a file of ours."""
    found = {}
    for block in re.split(r"\n\s+- alert: ", ALERTS.read_text())[1:]:
        name = block.split("\n", 1)[0]
        found[name] = re.search(r"expr: (?:\|\n)?(.*?)\n\s+(?:for|labels):", block, re.DOTALL)[1]
    return found


def queries():
    """(panel or variable, query) of everything that the dashboard asks."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.search(r"label_values\((.*), \w+\)", variable["query"]["query"])[1]


def asked(query, job, run):
    """A query with the dashboard's variables filled in."""
    for name, value in {"job": job, "run": run, "layer": "0", "peak_tflops": "312"}.items():
        query = query.replace(f"${name}", value)
    return query


def metric_names(text):
    return set(OURS.findall(text)) | {name for name in THE_SERVERS if re.search(rf"\b{name}\b", text)}


class Watch(ConclaveTest):
    def begin(self, *arguments, **keywords):
        """A run in the background that ends with the test."""
        process = self.start("--run-dir", self.dir / "run", "--quiet", *NEVER_ENDING, *arguments, **keywords)
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)

    def start_server(self, scrape):
        """A Prometheus with the alerts that looks at a run each second."""
        self.port = free_port()
        (self.dir / "prometheus.yml").write_text(f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{ALERTS}]\n"
                                                 f"scrape_configs: [{{job_name: conclave, {scrape}}}]\n")
        server = subprocess.Popen([PROMETHEUS / "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                                   f"--web.listen-address=127.0.0.1:{self.port}"], cwd=self.dir, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)

    def ask(self, path):
        text = read(f"http://127.0.0.1:{self.port}/api/v1/{path}")
        return json.loads(text)["data"] if text else {}

    def series(self, query):
        return self.ask(f"query?query={urllib.parse.quote(query)}").get("result", [])

    def alerts(self):
        """The server's word on each rule, by name."""
        return {rule["name"]: rule for group in self.ask("rules").get("groups", []) for rule in group["rules"]}

    def cluster(self):
        """The tiny experiment as experiments/base/cluster.yaml would have it on many machines."""
        experiment = self.dir / "cluster.yaml"
        experiment.write_text(json.dumps({"conclave": 1, "name": "on-a-cluster",
                                          "extends": [str(TINY), str(ROOT / "experiments/base/cluster.yaml")]}))
        return experiment

    def start_overflowing(self, port):
        """A run whose gradients overflow in fp16 in every step: nothing is applied, norms are infinite."""
        return self.begin("--set", "precision={compute: fp16, loss_scale: {initial: 1e38, minimum: 1e37}}", "--set",
                          "train.max_skipped=1000000", "--set", "monitors=[{use: monitor/jsonl}, {use: monitor/prometheus, with: "
                          f"{{listen: '127.0.0.1:{port}', experts: true}}}}]")

    @unittest.skipUnless((PROMETHEUS / "promtool").exists(), f"no promtool in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_promtool_tries_every_alert(self):
        for command in (("check", "rules", ALERTS), ("test", "rules", ALERTS.with_name("alerts_test.yaml"))):
            done = subprocess.run([PROMETHEUS / "promtool", *command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
        tried = re.findall(r"alertname: (\w+)", ALERTS.with_name("alerts_test.yaml").read_text())
        for name in rules():
            self.assertGreaterEqual(tried.count(name), 2, f"{name} is tried with and without its fault")

    @unittest.skipUnless((PROMETHEUS / "promtool").exists(), f"no promtool in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_each_alert_would_be_missed(self):
        """An alert that never fires fails promtool's tests."""
        text = ALERTS.read_text()
        for name, expression in rules().items():
            (self.dir / "alerts.yaml").write_text(text.replace(expression, re.match(r"\s*", expression)[0] + "vector(0) > 1"))
            (self.dir / "alerts_test.yaml").write_bytes(ALERTS.with_name("alerts_test.yaml").read_bytes())
            done = subprocess.run([PROMETHEUS / "promtool", "test", "rules", self.dir / "alerts_test.yaml"], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertNotEqual(done.returncode, 0, name)
            self.assertIn(f"alertname: {name}", done.stdout)

    def test_the_dashboard_is_whole(self):
        panels = DASHBOARD["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            self.assertFalse(cells & taken, f"{panel['title']} lies over another panel")
            taken |= cells
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"]["uid"], "${datasource}")
                self.assertTrue(target["legendFormat"])
        known = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
        for name, query in queries():
            self.assertLessEqual(set(re.findall(r"\$(\w+)", query)), known, name)

    @unittest.skipUnless((PROMETHEUS / "prometheus").exists(), f"no Prometheus in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_everything_that_is_asked_for_is_there(self):
        """Two ranks as on a cluster, scraped by a real Prometheus with the rules: every metric exists, every rule works, every
        panel has data, and nothing fires."""
        port = free_port()
        self.begin("--ranks", "2", "--set", "train.micro_batch=2", "--set", "checkpoint.with.every=20", "--set",
                   f"monitors.prometheus.with.listen='127.0.0.1:{port}'", "--set", "monitors.prometheus.with.experts=true",
                   experiment=self.cluster())
        self.start_server("honor_labels: true, file_sd_configs: "
                          f"[{{files: ['{self.dir}/run/prometheus/targets.*.json'], refresh_interval: 1s}}]")
        until(lambda: self.series("conclave_checkpoint_duration_seconds") and self.series("conclave_evaluation_nll_nats"), 120,
              "a checkpoint and an evaluation")
        page = read(f"http://127.0.0.1:{port}/metrics")
        exported = {re.match(r"\w+", line)[0] for line in page.splitlines() if line and not line.startswith("#")}
        # Appears with the first of them: test_a_fault_is_seen.
        exported.add("conclave_nonfinite_values_total")
        wanted = set().union(*(metric_names(text) for text in rules().values()), *(metric_names(query) for _, query in queries()))
        self.assertGreater(len(wanted), 20)
        self.assertEqual(wanted - exported - THE_SERVERS, set())
        for name, query in queries():
            query = asked(query, "conclave", "on-a-cluster")
            if name in ("Alerts", "Restarts"):
                self.assertEqual(self.series(query), [])
            else:
                until(lambda: self.series(query), 90, f"{name} has data: {query}")
        alerts = self.alerts()
        self.assertEqual(set(alerts), set(rules()))
        for name, alert in alerts.items():
            self.assertEqual((alert["health"], alert["state"], alert.get("lastError", "")), ("ok", "inactive", ""), name)

    @unittest.skipUnless((PROMETHEUS / "prometheus").exists(), f"no Prometheus in {PROMETHEUS}: run tools/bootstrap --oracles")
    def test_a_fault_is_seen(self):
        """A real run whose steps all overflow raises the alert on skipped steps, and none on its loss, which is finite."""
        port = free_port()
        self.start_overflowing(port)
        until(lambda: 'conclave_nonfinite_values_total{metric="conclave_grad_norm"}' in read(f"http://127.0.0.1:{port}/metrics"), 60,
              "a norm that is infinite")
        self.start_server(f"static_configs: [{{targets: ['127.0.0.1:{port}'], labels: {{run: bad}}}}]")
        until(lambda: self.alerts().get("ConclaveSkippedSteps", {}).get("state") == "pending", 60, "the alert on skipped steps")
        others = {alert["state"] for name, alert in self.alerts().items() if name != "ConclaveSkippedSteps"}
        self.assertEqual(others, {"inactive"})
