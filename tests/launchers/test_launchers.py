"""The same four ranks by the program itself, by torchrun and by Open MPI: the same run, bit for bit.

torchrun is that of the torch that `tools/bootstrap --oracles` brings; Open MPI is Debian's openmpi-bin.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from launched import CONCLAVE, EXPERIMENT, RANKS, LaunchedTest
from harness import prepared

ORACLES = pathlib.Path(os.environ.get("CONCLAVE_ORACLES", ""))


class Launchers(LaunchedTest):
    # A mistake that every rank sees.
    HINTED = ("--set", "checkpoint.with.keep_every=7")
    HINT = "checkpoint.with.keep_every: it is no multiple of `every`"

    def launch(self, *launcher, **variables):
        run = self.dir / "launched"
        done = subprocess.run([*map(str, launcher), *self.command("--run-dir", run, *self.HINTED)], cwd=self.dir, text=True,
                              env={**self.environment(), **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(done.stdout.count(self.HINT), 1, done.stdout)
        return run

    def test_by_itself(self):
        said = self.run_conclave("--ranks", RANKS, "--run-dir", "straight", *self.HINTED)
        self.assertEqual(said.count(self.HINT), 1, said)
        self.assert_ended_well(self.dir / "straight", "conclave")

    @unittest.skipUnless((ORACLES / "torch/distributed/run.py").exists(), "no torchrun: run tools/bootstrap --oracles")
    def test_torchrun(self):
        # --standalone takes a free port.
        run = self.launch(sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node",
                          RANKS, PYTHONPATH=str(ORACLES))
        self.assert_ended_well(run, "torchrun")
        self.assert_same_run(self.straight(), run)

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun: apt-get install openmpi-bin")
    def test_open_mpi(self):
        as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        run = self.launch("mpirun", *as_root, "--oversubscribe", "-n", RANKS)
        self.assert_ended_well(run, "mpirun")
        self.assert_same_run(self.straight(), run)

    @unittest.skipUnless(shutil.which("mpirun"), "no mpirun: apt-get install openmpi-bin")
    def test_open_mpi_shares_out_the_preparation(self):
        as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        prepare = [CONCLAVE, "prepare", str(EXPERIMENT), *self.settings()[2:4]]
        for cache, command in (("alone", prepare), ("shared", ["mpirun", *as_root, "--oversubscribe", "-n", str(RANKS), *prepare, "--task", "auto"])):
            done = subprocess.run(command, cwd=self.dir, text=True, env={**self.environment(), "XDG_CACHE_HOME": str(self.dir / cache)},
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
            self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(prepared(self.dir / "alone"), prepared(self.dir / "shared"))


if __name__ == "__main__":
    unittest.main()
