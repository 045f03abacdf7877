"""tools/launch/kubernetes: what the manifests start is started here, pod by pod, as Kubernetes would expand it; and the exit
code that run-node.sh makes of its ranks' codes.

Reading YAML needs the PyYAML that `tools/bootstrap --oracles` brings.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import unittest

from launched import CONCLAVE, LAYOUT, ROOT, TINY, LaunchedTest
from harness import prepared
from slurm_cluster import free_ports

FOLDER = ROOT / "tools/launch/kubernetes"
ORACLES = pathlib.Path(os.environ.get("CONCLAVE_ORACLES", ""))
sys.path.append(str(ORACLES))
try:
    import yaml
except ImportError:
    yaml = None

PER_POD = 2


@unittest.skipIf(yaml is None, "no PyYAML: run tools/bootstrap --oracles")
class Manifests(LaunchedTest):
    def start_pod(self, container, pods, number, given):
        """A pod's process: the manifest's command with $(NAME) expanded; sizes, paths and addresses are those of this machine."""
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        variables |= given
        expand = lambda text: re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], text)
        arguments = [expand(text) for text in container["args"]]
        self.assertEqual(arguments[:2], [str(pods), str(number)])
        self.assertEqual(arguments[2], str(container["resources"]["limits"]["nvidia.com/gpu"]), "a rank for each GPU")
        program = ROOT / pathlib.Path(container["command"][0]).relative_to("/opt/conclave")
        variables |= {"RUN_DIR": str(self.dir / "run"), "CONCLAVE": CONCLAVE, "CONCLAVE_RENDEZVOUS_TIMEOUT": "60"}
        return subprocess.Popen(
            [program, *arguments[:2], str(PER_POD), TINY, "--device", "cpu", "--set", f"vars.text={self.shared / 'text'}", *LAYOUT],
            cwd=self.dir, env={**variables, **self.environment()}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def assert_same_run(self, pods):
        for pod in pods:
            said, _ = pod.communicate(timeout=300)
            self.assertEqual(pod.returncode, 0, said)
        self.assert_ended_well(self.dir / "run", "torchrun")
        self.assert_same_metrics(self.straight(), self.dir / "run")

    def test_indexed_job(self):
        service, job = yaml.safe_load_all((FOLDER / "indexed-job.yaml").read_text())
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        machines = spec["completions"]
        (container,) = pod["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        # What must agree with each other in the file.
        self.assertEqual((spec["completionMode"], spec["parallelism"]), ("Indexed", machines))
        self.assertEqual(container["args"][0], str(machines))
        self.assertEqual(service["spec"]["selector"], {"job-name": job["metadata"]["name"]})
        self.assertEqual((service["spec"]["clusterIP"], pod["subdomain"]), ("None", service["metadata"]["name"]))
        self.assertEqual(variables["MASTER_ADDR"], f"{job['metadata']['name']}-0.{service['metadata']['name']}")
        self.assertEqual(pod["restartPolicy"], "Never", "a podFailurePolicy is refused with another one")
        for rule in spec["podFailurePolicy"]["rules"]:
            self.assertEqual(rule.get("onExitCodes", {}).get("containerName", container["name"]), container["name"])
        # Only those of the host's codes that may end otherwise the next time are tried again.
        (ends,) = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
        self.assertEqual(ends["operator"], "NotIn")
        self.assertFalse({1, 2, 4, 5} & set(ends["values"]))
        self.assertLessEqual({75, 76}, set(ends["values"]))

        (port,) = free_ports(1)
        container["args"][0] = "2"
        self.assert_same_run([self.start_pod(container, 2, index, {
            "JOB_COMPLETION_INDEX": str(index), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}) for index in range(2)])

    def test_prepare_job(self):
        job = yaml.safe_load((FOLDER / "prepare-job.yaml").read_text())
        spec, pod = job["spec"], job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        self.assertEqual((spec["completionMode"], variables["CONCLAVE_TASKS"]), ("Indexed", str(spec["completions"])))
        self.assertEqual(pod["restartPolicy"], "Never", "a podFailurePolicy is refused with another one")
        (ends,) = [rule["onExitCodes"] for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
        self.assertFalse({1, 2, 3, 5} & set(ends["values"]))
        self.assertEqual(container["command"], ["/opt/conclave/tools/conclave"])
        local = {"/opt/conclave/experiments/moe-10b.yaml": str(TINY), "vars.text=/data/text": f"vars.text={self.shared / 'text'}"}
        arguments = [local.get(text, text) for text in container["args"]]
        caches = {}
        for tasks in (1, 3):
            caches[tasks] = self.dir / f"cache-{tasks}"
            environment = {**variables, **self.environment(), "CONCLAVE_TASKS": str(tasks), "XDG_CACHE_HOME": str(caches[tasks])}
            pods = [subprocess.Popen([CONCLAVE, *arguments], cwd=self.dir, env={**environment, "JOB_COMPLETION_INDEX": str(index)},
                                     text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for index in range(tasks)]
            for pod_process in pods:
                said, _ = pod_process.communicate(timeout=300)
                self.assertEqual(pod_process.returncode, 0, said)
        self.assertEqual(prepared(caches[1]), prepared(caches[3]))

    def test_pytorch_job(self):
        job = yaml.safe_load((FOLDER / "pytorchjob.yaml").read_text())
        replicas = job["spec"]["pytorchReplicaSpecs"]
        self.assertEqual(replicas["Master"]["replicas"], 1)
        self.assertNotIn("nprocPerNode", job["spec"], "WORLD_SIZE would count ranks, not pods")
        for replica in replicas.values():
            self.assertEqual(replica["restartPolicy"], "ExitCode")
            (container,) = replica["template"]["spec"]["containers"]
            self.assertEqual(container["name"], "pytorch")
            retried = [int(entry["value"]) for entry in container["env"] if entry["name"] == "RETRY_CODE"]
            self.assertEqual(retried, [138])
        (port,) = free_ports(1)
        self.assert_same_run([self.start_pod(container, 2, rank, {
            "WORLD_SIZE": "2", "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}) for rank in range(2)])


class RunNode(LaunchedTest):
    def start_node(self, script, **variables):
        """run-node.sh as machine 1 of 2 with three ranks, which are bash scripts."""
        program = self.dir / "fake"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        variables = {"MASTER_ADDR": "here", "MASTER_PORT": "1", "LAUNCH_ID": "x", "RUN_DIR": str(self.dir / "run"),
                     "CONCLAVE": str(program), **variables}
        return subprocess.Popen([FOLDER / "run-node.sh", "2", "1", "3", "some.yaml", "--quiet"], cwd=self.dir, text=True,
                                env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def node(self, script, **variables):
        process = self.start_node(script, **variables)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def test_what_a_rank_is_told(self):
        code, said = self.node('echo "$RANK $LOCAL_RANK of $WORLD_SIZE $LOCAL_WORLD_SIZE: $*"')
        run = self.dir / "run"
        self.assertEqual((code, sorted(said.splitlines())),
                         (0, [f"{3 + i} {i} of 6 3: run some.yaml --quiet --run-dir {run} --resume" for i in range(3)]))

    def test_exit_codes(self):
        ends = lambda *codes: self.node(f"codes=({' '.join(codes)}); sleep $((RANK - 3)); exit ${{codes[RANK - 3]}}")[0]
        self.assertEqual(ends("75", "75", "75"), 75)
        self.assertEqual(ends("75", "75", "0"), 75)
        self.assertEqual(ends("75", "76", "75"), 76)
        self.assertEqual(ends("76", "5", "76"), 5)
        self.assertEqual(ends("4", "76", "5"), 4, "the first is the cause")
        self.assertEqual(ends("0", "139", "75"), 76)

    def test_codes_for_another_scheduler(self):
        for own, told in ((3, 138), (75, 138), (76, 138), (2, 2), (5, 5), (0, 0)):
            self.assertEqual(self.node(f"exit {own}", RETRY_CODE="138")[0], told)

    def test_a_killed_rank_is_named(self):
        code, said = self.node("[ $RANK != 4 ] || kill -9 $$; exit 76")
        self.assertEqual(code, 76)
        self.assertIn("rank 4 ended with 137 (signal 9)", said)

    def test_a_rank_that_stays_is_killed(self):
        code, said = self.node("[ $RANK != 5 ] || exec sleep 1000; exit 76", GRACE="1")
        self.assertEqual(code, 76)
        self.assertIn("killed", said)

    def test_signals_are_passed_on(self):
        for number in (signal.SIGTERM, signal.SIGUSR1):
            with self.subTest(number):
                process = self.start_node("trap 'exit 75' TERM USR1; touch up.$RANK; sleep 100 & wait")
                deadline = time.monotonic() + 60
                while len(list(self.dir.glob("up.*"))) < 3:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.02)
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=60), 75)
                process.stdout.close()
                for up in self.dir.glob("up.*"):
                    up.unlink()


if __name__ == "__main__":
    unittest.main()
