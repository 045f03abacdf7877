"""tools/launch/slurm/prolog-check.sh on good and bad nodes; nvidia-smi is replaced by a script that says what is to be seen."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

CHECK = pathlib.Path(__file__).resolve().parent.parent.parent / "tools/launch/slurm/prolog-check.sh"
GOOD = 'printf "0, 0\\n1, [N/A]\\n"'


class PrologCheck(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="conclave-node-"))
        self.addCleanup(shutil.rmtree, self.dir)
        (self.dir / "bin").mkdir()

    def program(self, name, script):
        file = self.dir / "bin" / name
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)

    def check(self, folder=None, limits="", **variables):
        environment = {**os.environ, "PATH": f"{self.dir}/bin:{os.environ['PATH']}", "CHECK_FREE_GB": "0", "CHECK_SHM_GB": "0",
                       "CHECK_FILES": "1", **variables}
        done = subprocess.run(["bash", "-c", f'{limits} exec "$0" "$@"', CHECK, folder or self.dir], env=environment, text=True,
                              stdout=subprocess.PIPE, timeout=60)
        failed = [line.split("FAIL ")[1] for line in done.stdout.splitlines() if "FAIL" in line]
        self.assertEqual(done.returncode, 1 if failed else 0, done.stdout)
        return failed

    def test_a_good_node(self):
        self.program("nvidia-smi", GOOD)
        self.assertEqual(self.check(CHECK_GPUS="2"), [])
        self.assertEqual(self.check(SLURM_GPUS_ON_NODE="2"), [])
        self.assertEqual([p.name for p in self.dir.iterdir()], ["bin"], "it leaves nothing behind")

    def test_gpus(self):
        self.program("nvidia-smi", GOOD)
        self.assertEqual(self.check(CHECK_GPUS="3"), ["gpus: 3 wanted, 2 answer"])
        self.program("nvidia-smi", 'printf "0, 0\\n1, 7\\n"')
        self.assertIn("GPU 1: 7;", self.check(CHECK_GPUS="2")[0])
        self.program("nvidia-smi", 'echo "Unable to determine the device handle for GPU0000:3B:00.0"; exit 15')
        self.assertIn("Unable to determine", self.check(CHECK_GPUS="2")[0])

    def test_space_and_limits(self):
        self.assertIn("space: ", self.check(CHECK_FREE_GB="1000000000")[0])
        self.assertEqual(self.check(limits="ulimit -n 100;", CHECK_FILES="4096"), ["open files: 100, 4096 wanted (ulimit -n)"])

    def test_a_folder_that_is_not_there(self):
        self.assertIn(f"folder: {self.dir}/none cannot be written", self.check(folder=self.dir / "none"))

    def test_a_clock_that_is_wrong(self):
        # The same as a node's clock that is ahead: the storage gives files a time a minute ago.
        self.program("mktemp", 'file=${1/XXXXXX/x}; touch -d "1 minute ago" "$file"; echo "$file"')
        self.assertRegex(self.check()[0], "clock: 6[0-9] s away")


if __name__ == "__main__":
    unittest.main()
