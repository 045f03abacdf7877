"""The Kubernetes manifests are YAML, and what they hand to a rank is what the program reads. No cluster is asked."""

import pathlib
import unittest

try:
    import yaml
except ImportError:
    yaml = None

FOLDER = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/launch/kubernetes"
TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"}
OPERATOR = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}  # set by Kubeflow's


@unittest.skipUnless(yaml, "no PyYAML: pip install pyyaml")
class Manifests(unittest.TestCase):
    def names(self, pod):
        return {entry["name"] for entry in pod["spec"]["containers"][0]["env"]}

    def test_indexed_job(self):
        service, job = yaml.safe_load_all((FOLDER / "indexed-job.yaml").read_text())
        spec = job["spec"]
        self.assertLessEqual(TORCHRUN, self.names(spec["template"]))
        values = {entry["name"]: entry.get("value") for entry in spec["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(values["WORLD_SIZE"], str(spec["completions"]))
        self.assertEqual(spec["completions"], spec["parallelism"])
        self.assertEqual(values["MASTER_ADDR"], f"{job['metadata']['name']}-0.{service['metadata']['name']}")
        self.assertEqual(spec["template"]["spec"]["subdomain"], service["metadata"]["name"])
        final = spec["podFailurePolicy"]["rules"][0]
        self.assertEqual((final["action"], final["onExitCodes"]["values"]), ("FailJob", [1, 2, 4, 5]))

    def test_pytorchjob(self):
        job = yaml.safe_load((FOLDER / "pytorchjob.yaml").read_text())
        replicas = job["spec"]["pytorchReplicaSpecs"]
        for kind in ("Master", "Worker"):
            self.assertLessEqual(TORCHRUN, self.names(replicas[kind]["template"]) | OPERATOR)
            self.assertEqual(replicas[kind]["template"]["spec"]["containers"][0]["name"], "pytorch")


if __name__ == "__main__":
    unittest.main()
