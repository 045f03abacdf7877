"""A disk that fills up while a checkpoint is written: exit 5, the checkpoint before stays good, and with room again --resume goes on.

Needs the right to mount a small tmpfs; says so and is skipped without it.
"""

import subprocess
import unittest

from harness import ConclaveTest

SETTINGS = ("--set", "train.steps=24", "--set", "checkpoint.with.every=8", "--set", "checkpoint.with.keep=5")


def size_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


class FullDisk(ConclaveTest):
    def mount(self, *options):
        done = subprocess.run(["mount", *options], text=True, capture_output=True)
        if done.returncode != 0:
            raise unittest.SkipTest(f"cannot mount a tmpfs here: {done.stderr.strip()}")

    def test_the_checkpoint_before_serves(self):
        self.run_conclave("--run-dir", "straight", *SETTINGS)
        straight = self.dir / "straight"
        one = size_of(straight / "checkpoints/step-00000008")
        rest = size_of(straight) - size_of(straight / "checkpoints")
        small = self.dir / "small"
        small.mkdir()
        # Room for one checkpoint and half of the next, and for what else a run writes.
        self.mount("-t", "tmpfs", "-o", f"size={one + one // 2 + 2 * rest + 65536}", "tmpfs", str(small))
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)])
        said = self.run_conclave("--run-dir", small / "run", *SETTINGS, code=5)
        self.assertIn("No space left on device", said)
        kept = sorted(p.name for p in (small / "run/checkpoints").iterdir() if (p / "manifest.json").exists())
        self.assertEqual(kept, ["step-00000008"])
        self.mount("-o", "remount,size=64m", str(small))
        said = self.run_conclave("--run-dir", small / "run", "--resume", *SETTINGS)
        self.assertIn("step-00000008", said)
        self.assert_same_metrics(straight, small / "run")
