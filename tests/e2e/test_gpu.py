"""A run on a GPU: recorded steps give the numbers of steps that run kernel by kernel, bit for bit."""

import json
import pathlib
import unittest

from harness import ConclaveTest


@unittest.skipUnless(pathlib.Path("/dev/nvidiactl").exists(), "there is no GPU here")
class OnAGpu(ConclaveTest):
    def command(self, *arguments, **keywords):
        return ["cuda" if a == "cpu" else a for a in super().command(*arguments, **keywords)]

    def test_graphs_and_eager_steps_agree(self):
        # Buckets: several shapes, so several recordings of a micro-batch; fp16: a loss scale that is on the device, too.
        for compute in ("bf16", "fp16"):
            with self.subTest(compute):
                same = ("--set", "precision.deterministic=true", "--set", f"precision.compute={compute}", "--set", "train.steps=30",
                        "--set", "data.batching.mode=bucket", "--set", "data.batching.bucket_step=8", "--set", "data.length.max=64")
                self.run_conclave("--run-dir", f"graphs-{compute}", *same)
                self.run_conclave("--run-dir", f"eager-{compute}", *same, "--set", "train.cuda_graphs=false")
                self.assert_same_metrics(self.dir / f"graphs-{compute}", self.dir / f"eager-{compute}")
                said = (self.dir / f"graphs-{compute}" / "log.0.txt").read_text()
                self.assertNotIn("no CUDA graph", said)
                record = json.loads((self.dir / f"graphs-{compute}" / "record.json").read_text())
                self.assertIn("cuda", json.dumps(record))


if __name__ == "__main__":
    unittest.main()
