"""Plugins with one fault each in a run: unused, the run goes on without them; used, it ends with the file's name and the right code."""

import os
import pathlib
import shutil
import subprocess

from harness import CONCLAVE, ConclaveTest

FAULTS = pathlib.Path(os.environ["CONCLAVE_FAULT_PLUGINS"])
DOES_NOT_FIT, BUG = 3, 1
CRASHED = "SIGSEGV|exited with 1"  # the latter with the address sanitizer


class Plugins(ConclaveTest):
    def environment(self):
        return {**super().environment(), "CONCLAVE_PLUGIN_PATH": str(self.shared / "plugins")}

    def put(self, name):
        folder = self.shared / "plugins"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(FAULTS / f"scheduler-{name}.so", folder)

    def check_quarantined(self, name, reason):
        self.put(name)
        self.run_conclave("--run-dir", "unused", "--quiet", "--stop-after", 1)
        listed = subprocess.run([CONCLAVE, "plugins"], env=self.environment(), text=True, capture_output=True, timeout=120)
        self.assertIn(f"scheduler-{name}.so", listed.stdout + listed.stderr)
        said = self.run_conclave("--run-dir", "used", "--set", f"scheduler={{use: scheduler/{name}}}", code=DOES_NOT_FIT)
        self.assertIn(f"scheduler-{name}.so", said)
        self.assertRegex(said, reason)
        self.assertFalse((self.dir / "used").exists())

    def test_a_wrong_fingerprint(self):
        self.check_quarantined("wrong-fingerprint", "sdk|fingerprint")

    def test_a_crash_in_a_static_initialiser(self):
        self.check_quarantined("crashing-initialiser", CRASHED)

    def test_a_loop_in_a_static_initialiser(self):
        self.check_quarantined("looping-initialiser", "took longer than")

    def test_a_crash_in_the_option_table(self):
        self.check_quarantined("crashing-table", CRASHED)

    def test_a_constructor_that_throws(self):
        self.put("throwing-constructor")
        self.run_conclave("--run-dir", "unused", "--quiet", "--stop-after", 1)
        said = self.run_conclave("--run-dir", "used", "--set", "scheduler={use: scheduler/throwing-constructor}", code=BUG)
        self.assertIn("scheduler-throwing-constructor.so", said)

    def test_a_scheduler_that_says_nan(self):
        self.put("nan-scheduler")
        said = self.run_conclave("--run-dir", "used", "--set", "scheduler={use: scheduler/nan}", code=BUG)
        self.assertIn("scheduler/nan", said)
        self.assertIn("scheduler-nan-scheduler.so", said)

    def test_something_wrong_in_the_experiment_as_well_is_the_experiments(self):
        self.put("wrong-fingerprint")
        said = self.run_conclave("--set", "scheduler={use: scheduler/wrong-fingerprint}", "--set", "train.stepz=3", code=2)
        self.assertIn("scheduler-wrong-fingerprint.so", said)
        self.assertIn("did you mean steps?", said)
