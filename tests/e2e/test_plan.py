"""conclave plan on machine files of the tree, wrong ones and one that it measures itself."""

import json
import subprocess

from harness import CONCLAVE, TINY, ConclaveTest
from test_monitors import free_port

ROOT = TINY.parents[2]
LARGE = ROOT / "experiments/moe-10b.yaml"
A100 = ROOT / "experiments/machines/a100-80gb.yaml"


class Plan(ConclaveTest):
    def plan(self, *arguments, code=0, **variables):
        done = subprocess.run([CONCLAVE, "plan", *map(str, arguments)], cwd=self.dir, env={**self.environment(), **variables},
                              text=True, capture_output=True, timeout=600)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def large(self, *arguments, **keywords):
        return self.plan(LARGE, "--set", "vars.text=/text", *arguments, **keywords)

    def test_the_layout_that_is_written(self):
        text = self.large("--machine", A100)
        self.assertIn("8 x A100 80 GB: pipeline 1 x data 8 x tensor 1, experts over 8, micro-batch 4", text)
        layout = json.loads(self.large("--machine", A100, "--json"))["layouts"][0]
        self.assertTrue(layout["fits"])
        self.assertAlmostEqual(sum(layout["parts"].values()), layout["seconds"])

    def test_what_a_search_finds_is_what_is_planned_when_written(self):
        found = json.loads(self.large("--machine", A100, "--gpus", 16, "--top", 5, "--json"))
        self.assertEqual((found["gpus"], len(found["layouts"])), (16, 5))
        self.assertEqual(found["layouts"], sorted(found["layouts"], key=lambda layout: layout["seconds"]))
        text = self.large("--machine", A100, "--gpus", 16, "--top", 1)
        pasted = self.dir / "pasted.yaml"
        pasted.write_text(f"conclave: 1\nextends: {LARGE}\nhardware: {{gpus: 16}}\n" + text.split("\n\n", 1)[1])
        written = json.loads(self.plan(pasted, "--machine", A100, "--set", "vars.text=/text", "--json"))["layouts"][0]
        self.assertEqual(written, found["layouts"][0])

    def test_what_is_wrong_is_named(self):
        wrong = self.dir / "wrong.yaml"
        wrong.write_text(A100.read_text().replace("1.7 TB/s", "1.7 TFLOP/s"))
        self.assertRegex(self.large("--machine", wrong, code=2), r"wrong\.yaml:\d+:19: memory_bandwidth: '1\.7 TFLOP/s' has the unknown unit")
        self.assertIn("no layout of 1 GPUs fits", self.large("--machine", A100, "--gpus", 1, code=3))
        self.assertIn("no rates for fp64", self.large("--machine", A100, "--set", "precision.compute=fp64", code=3))
        self.assertIn("does not fit", self.large("--machine", A100, "--set", "train.micro_batch=64"))
        self.assertIn("waits for the number of GPUs", self.large("--machine", A100, "--set", "parallel=auto", "--set",
                                                                 "hardware.gpus=0", code=2))
        self.assertIn("wants an experiment and a machine", self.plan(LARGE, code=2))

    def test_a_machine_that_is_measured_is_one_to_plan_for(self):
        out, port = self.dir / "here.yaml", str(free_port())
        ranks = [subprocess.Popen([CONCLAVE, "plan", "--calibrate", out, "--device", "cpu"], cwd=self.dir, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  env={**self.environment(), "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                                       "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                                       "TORCHELASTIC_RUN_ID": "plan", "TORCHELASTIC_USE_AGENT_STORE": "False"})
                 for rank in range(2)]
        for rank in ranks:
            said, _ = rank.communicate(timeout=600)
            self.assertEqual(rank.returncode, 0, said)
        self.assertIn("gpus_per_node: 2", out.read_text())
        self.assertIn("within_node:", out.read_text())
        text = self.plan(TINY, "--machine", out, "--set", f"vars.text={self.shared / 'text'}")
        self.assertIn("MFU", text)
