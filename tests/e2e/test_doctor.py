"""conclave doctor on this machine, on good and bad expectations, with planted faults, and across ranks."""

import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from harness import CONCLAVE, TINY, ConclaveTest
from test_monitors import free_port

ROOT = TINY.parents[2]
FAKE_NVML = pathlib.Path(os.environ.get("CONCLAVE_FAKE_NVML", ""))


class Doctor(ConclaveTest):
    def doctor(self, *arguments, code=0, prepare=None, storage=None, **variables):
        """stdout and stderr of `conclave doctor`, with the lines of the first node by name."""
        done = subprocess.run([CONCLAVE, "doctor", "--json", "--storage", storage or self.dir, *map(str, arguments)],
                              cwd=self.dir, env={**self.environment(), **variables}, text=True, capture_output=True, timeout=300,
                              preexec_fn=prepare)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        if not done.stdout:
            return {}, done.stderr
        report = json.loads(done.stdout)
        self.assertEqual(report["schema"], 1)
        checks = [check for node in report["nodes"] for check in node["checks"]]
        self.assertEqual(report["failed"], sum(check["verdict"] == "fail" for check in checks))
        self.assertEqual(code == 3, report["failed"] > 0)
        for check in checks:
            self.assertTrue(check["figure"], check)
            self.assertEqual(check["advice"] == "", check["verdict"] == "ok", check)
        return {check["name"]: check for check in checks}, done.stderr

    def with_fake_gpus(self, **variables):
        """The environment in which NVML is the one of the tests."""
        (self.dir / "lib").mkdir(exist_ok=True)
        link = self.dir / "lib/libnvidia-ml.so.1"
        if not link.exists():
            link.symlink_to(FAKE_NVML)
        return {"LD_LIBRARY_PATH": str(self.dir / "lib"), **variables}

    def test_this_machine(self):
        lines, _ = self.doctor("--port", free_port(), "--device", "cpu")
        for name in ("processors", "memory", "shared memory", "open files", "space", "write and sync", "read back", "sync", "LibTorch",
                     "GPUs"):
            self.assertIn(name, lines)
        self.assertEqual(lines["LibTorch"]["verdict"], "ok")
        self.assertEqual(list(self.dir.iterdir()), [], "it leaves nothing behind")

    @unittest.skipIf(pathlib.Path("/dev/nvidiactl").exists(), "this machine has a GPU")
    def test_a_machine_without_a_gpu(self):
        lines, _ = self.doctor()
        self.assertEqual((lines["GPUs"]["verdict"], lines["GPUs"]["figure"]), ("warn", "no NVIDIA driver"))
        lines, _ = self.doctor("--expect", ROOT / "experiments/expect/a100-80gb-x8.yaml", code=3)
        self.assertEqual(lines["GPUs"]["verdict"], "fail")
        self.assertTrue(lines["GPUs"]["advice"].startswith("8 wanted: "))

    def test_the_table_for_people(self):
        done = subprocess.run([CONCLAVE, "doctor", "--storage", self.dir, "--device", "cpu"], text=True, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\A\S+\n  (ok|warn)  ")
        self.assertRegex(done.stdout, r"\n0 failures and \d+ warnings? in \d+ checks of 1 node\n\Z")

    def test_few_file_handles(self):
        lines, _ = self.doctor("--device", "cpu", code=3, prepare=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512)))
        self.assertEqual((lines["open files"]["verdict"], lines["open files"]["figure"]), ("fail", "256"))
        self.assertIn("`ulimit -n 512` is allowed here", lines["open files"]["advice"])

    def test_a_limit_on_the_size_of_files(self):
        lines, _ = self.doctor("--device", "cpu", code=3,
                               prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20)))
        self.assertIn("cannot write: File too large", lines["storage"]["figure"])

    @unittest.skipUnless(os.geteuid() == 0, "only root can mount a small disk")
    def test_a_full_disk(self):
        disk = pathlib.Path(tempfile.mkdtemp(dir=self.dir))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "conclave-test", disk], capture_output=True, text=True)
        if mounted.returncode != 0:
            self.skipTest(f"no small disk can be mounted: {mounted.stderr}")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        lines, _ = self.doctor("--device", "cpu", storage=disk, code=3)
        self.assertIn("cannot write: No space left on device", lines["storage"]["figure"])
        self.assertEqual(list(disk.iterdir()), [])

    def test_a_folder_that_is_not_there(self):
        lines, _ = self.doctor("--device", "cpu", storage=self.dir / "none", code=3)
        self.assertIn("No such file or directory", lines["storage"]["figure"])

    def test_expectations(self):
        expect = self.dir / "expect.yaml"
        expect.write_text("nofile: 16\ncpus: 1\nstorage_write_MBps: 0.001\n")
        self.doctor("--expect", expect, "--device", "cpu")
        expect.write_text("storage_free: 1000TB\nstorage_write_MBps: 1e9\n")
        lines, _ = self.doctor("--expect", expect, "--device", "cpu", code=3)
        self.assertTrue(lines["space"]["advice"].startswith("1.00 PB wanted: "), lines["space"])
        self.assertTrue(lines["write and sync"]["advice"].startswith("1000000000 MB/s wanted: "), lines["write and sync"])
        expect.write_text("gpus: 8\ngpu_memroy: 80GB\nnvlink_GBps: 200GB/s\n")
        _, said = self.doctor("--expect", expect, code=2)
        self.assertIn(f"{expect}:2:1: gpu_memroy: ", said)
        self.assertIn(f"{expect}:3:14: nvlink_GBps: ", said)
        _, said = self.doctor("--expect", "none.yaml", code=2)
        self.assertIn("none.yaml", said)

    def test_the_machines_that_are_shipped_are_read(self):
        for file in sorted((ROOT / "experiments/expect").glob("*.yaml")):
            lines, _ = self.doctor("--expect", file, "--device", "cpu", code=3, **self.with_fake_gpus())
            self.assertTrue(lines["GPUs"]["figure"].startswith("2 x "), lines["GPUs"])

    def test_what_an_experiment_needs(self):
        lines, _ = self.doctor("--experiment", TINY, "--device", "cpu")
        self.assertEqual(lines["space"]["verdict"], "ok")
        lines, _ = self.doctor("--experiment", ROOT / "experiments/moe-100b.yaml", "--device", "cpu", code=3)
        self.assertRegex(lines["space"]["advice"], r"\A[0-9.]+ (TB|PB) wanted: ")
        _, said = self.doctor("--experiment", TINY, "--set", "train.steps=-1", code=2)
        self.assertIn("train.steps", said)

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            lines, _ = self.doctor("--port", port, "--device", "cpu", code=3)
        self.assertEqual(lines[f"port {port}"]["figure"], "in use")

    def test_gpus_and_their_faults(self):
        lines, _ = self.doctor("--device", "cpu", code=3, **self.with_fake_gpus())
        self.assertEqual(lines["GPUs"]["figure"], "2 x NVIDIA Fake 80GB")
        self.assertEqual(lines["NVLink health"]["figure"], "GPU 1: 10 of 12 links are up")
        self.assertEqual(lines["clocks"]["figure"], "GPU 1: much too warm (91 C)")
        self.assertEqual(lines["memory errors"]["verdict"], "ok")
        lines, _ = self.doctor("--device", "cpu", code=3, **self.with_fake_gpus(FAKE_NVML_FAULT="ecc"))
        self.assertEqual(lines["memory errors"]["figure"], "GPU 1: 2 uncorrected")
        self.assertEqual(lines["bad memory"]["figure"], "GPU 1: a row waits to be remapped")
        lines, _ = self.doctor("--device", "cpu", code=3, **self.with_fake_gpus(FAKE_NVML_FAULT="lost"))
        self.assertEqual(lines["GPUs"]["figure"], "GPU 1 of 2 does not answer: GPU is lost")

    def test_a_check_that_crashes_or_never_ends_costs_a_line(self):
        lines, _ = self.doctor("--device", "cpu", code=3, **self.with_fake_gpus(FAKE_NVML_FAULT="crash"))
        self.assertIn("ended by SIGABRT", lines["GPUs"]["figure"])
        self.assertIn("LibTorch", lines)
        lines, _ = self.doctor("--device", "cpu", code=3, **self.with_fake_gpus(FAKE_NVML_FAULT="loop"))
        self.assertIn("took longer than 10 s", lines["GPUs"]["figure"])
        self.assertIn("LibTorch", lines)

    def ranks(self, count, *arguments, started=None, nodes=1, stopped=None, **variables):
        """Exit codes and outputs of as many ranks as torchrun would start, spread over so many nodes; without those of a rank that
        is stopped while rank 0 looks at its node."""
        port = free_port()
        each = count // nodes
        processes = [subprocess.Popen([CONCLAVE, "doctor", "--json", "--storage", self.dir, "--device", "cpu", *map(str, arguments)],
                                      cwd=self.dir, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env={**self.environment(), "RANK": str(rank), "WORLD_SIZE": str(count),
                                           "LOCAL_RANK": str(rank % each), "LOCAL_WORLD_SIZE": str(each),
                                           "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                                           "TORCHELASTIC_USE_AGENT_STORE": "False", **variables})
                     for rank in range(started or count)]
        for process in processes:
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
        if stopped is not None:
            time.sleep(1.5)
            processes.pop(stopped).send_signal(signal.SIGSTOP)
        outputs = [process.communicate(timeout=300) for process in processes]
        return [process.returncode for process in processes], outputs

    def test_ranks_of_two_nodes(self):
        codes, outputs = self.ranks(2, nodes=2)
        self.assertEqual(codes, [0, 0], outputs)
        self.assertEqual(outputs[1][0], "", "rank 0 speaks for all")
        report = json.loads(outputs[0][0])
        checks = [check for node in report["nodes"] for check in node["checks"]]
        names = [check["name"] for check in checks]
        self.assertEqual(names.count("write and sync"), 2, "one for each node")
        lines = {check["name"]: check for check in checks}
        self.assertRegex(lines["all-reduce"]["figure"], r"\A[0-9.]+ GB/s over 2 CPU ranks\Z")
        self.assertRegex(lines["clocks of the nodes"]["figure"], r"\A0(\.\d+)? s apart\Z")

    def test_a_fault_of_any_node_is_everybodys_end(self):
        expect = self.dir / "expect.yaml"
        expect.write_text("all_reduce_GBps: 1e6\n")
        codes, outputs = self.ranks(2, "--expect", expect)
        self.assertEqual(codes, [3, 3], outputs)
        self.assertEqual(outputs[1], ("", ""), "rank 0 speaks for all")
        report = json.loads(outputs[0][0])
        failed = [check["name"] for node in report["nodes"] for check in node["checks"] if check["verdict"] == "fail"]
        self.assertEqual(failed, ["all-reduce"])

    def test_a_rank_that_does_not_come(self):
        codes, outputs = self.ranks(3, started=2, CONCLAVE_RENDEZVOUS_TIMEOUT="5")
        self.assertEqual(codes, [3, 3], outputs)
        lines = {check["name"]: check for check in json.loads(outputs[0][0])["nodes"][0]["checks"]}
        self.assertIn("rank 2", lines["ranks"]["figure"])
        self.assertIn("open files", lines, "what is known of the node is told")

    def test_a_rank_that_stops(self):
        codes, outputs = self.ranks(3, stopped=2, CONCLAVE_RENDEZVOUS_TIMEOUT="10")
        self.assertEqual(codes, [3, 3], outputs)
        lines = {check["name"]: check for check in json.loads(outputs[0][0])["nodes"][0]["checks"]}
        self.assertIn("rank 2", lines["ranks"]["figure"])
