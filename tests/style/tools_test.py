"""What the scripts in tools/ hand on, with the programs they start replaced by ones that say how they were called."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent.parent.parent / "tools"


class Tools(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="conclave-tools-"))
        self.addCleanup(shutil.rmtree, self.root)
        (self.root / "tools").mkdir()
        for name in ("lib.sh", "test", "conclave"):
            shutil.copy(TOOLS / name, self.root / "tools")
        self.write("tools/build", "exit 0")

    def write(self, name, script):
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)

    def run_tool(self, program, *arguments):
        environment = {**os.environ, "PATH": f"{self.root}/bin:{os.environ['PATH']}"}
        environment.pop("CONCLAVE_BUILD_DIR", None)
        return subprocess.run([program, *arguments], env=environment, text=True, check=True, stdout=subprocess.PIPE).stdout

    def test_labels_of_the_users_choice_are_not_left_out(self):
        self.write("bin/ctest", 'printf "%s\\n" "$@"')
        test = self.root / "tools/test"
        self.assertIn("-LE", self.run_tool(test, "-R", "name").split())
        picked = self.run_tool(test, "-L", "golden").split()
        self.assertEqual(picked[-2:], ["-L", "golden"])
        self.assertNotIn("-LE", picked)
        self.assertNotIn("-LE", self.run_tool(test, "--all").split())

    def test_the_program_runs_through_a_link(self):
        self.write("build/bin/conclave", 'echo "ran $*"')
        link = self.root / "elsewhere"
        link.symlink_to(self.root / "tools/conclave")
        self.assertEqual(self.run_tool(link, "plugins", "a b"), "ran plugins a b\n")


if __name__ == "__main__":
    unittest.main()
