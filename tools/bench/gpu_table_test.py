"""The table of tools/bench/gpu from planted figures, and the script itself with programs that print planted ones."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import gpu_table  # noqa: E402
from gpu_table import Figure  # noqa: E402


def figures(**values):
    return {name.replace("__", "."): Figure(value, "", 7) for name, value in values.items()}


def line_of(label, planted, gpu="NVIDIA H200 (cuda:0)"):
    return [line for line in gpu_table.evaluate(planted, gpu) if line["label"].strip() == label]


class Table(unittest.TestCase):
    def test_lines_of_benchmarks(self):
        self.assertEqual(gpu_table.parse("figure balanced.bf16.dgrad.ours = 664.25 TFLOP/s (n=20)\n"),
                         ("balanced.bf16.dgrad.ours", Figure(664.25, "TFLOP/s", 20)))
        self.assertEqual(gpu_table.parse("figure x = 1.5e-05 ms (n=1)"), ("x", Figure(1.5e-5, "ms", 1)))
        self.assertIsNone(gpu_table.parse("gpu NVIDIA H200"))

    def test_limits_of_a_ratio(self):
        for ours, verdict in ((3.9, "aim"), (3.4, "must"), (3.0, "BELOW")):
            line, = line_of("permute", figures(ops__permute=ours, ceilings__copy=4.0))
            self.assertEqual((line["verdict"], line["n"]), (verdict, 7), line)
            self.assertAlmostEqual(line["ratio"], ours / 4)
        line, = line_of("swiglu", figures(ops__swiglu=1.0, ceilings__copy=4.0))  # nothing is asked of it
        self.assertEqual((line["verdict"], line["must"]), ("", ""))

    def test_less_time_is_better(self):
        planted = figures(layer__moe=10, peer__moe__eager=17, peer__moe__compiled=14)
        line, compiled = line_of("MoE layer, forward+backward", planted)
        self.assertEqual((line["peer"], line["peer_label"], line["verdict"]), (17, "torchtitan's path", "aim"))
        self.assertAlmostEqual(line["ratio"], 1.7)
        self.assertEqual((compiled["peer"], compiled["must"], compiled["verdict"]), (14, "", ""))
        self.assertAlmostEqual(compiled["ratio"], 1.4)
        planted["peer.moe.eager"] = Figure(14, "", 7)
        self.assertEqual(line_of("MoE layer, forward+backward", planted)[0]["verdict"], "must")
        del planted["peer.moe.eager"]
        line, _ = line_of("MoE layer, forward+backward", planted)
        self.assertEqual((line["ratio"], line["verdict"]), (None, ""))  # no peer: nothing can be said

    def test_a_gpu_has_its_own_limits(self):
        planted = figures(step__b8__graph=75e3)
        for gpu, verdict, must in (("NVIDIA H200", "BELOW", ">= 76.0k tok/s"), ("NVIDIA H100 80GB HBM3", "must", ">= 73.0k tok/s"),
                                   ("NVIDIA A100-SXM4-80GB", "", "")):
            line, = line_of("R1 batch 8, forward+backward", planted, gpu)
            self.assertEqual((line["verdict"], line["must"]), (verdict, must))

    def test_sums(self):
        # 1e9 parameters: 34 GB, 8.5 ms at 4 TB/s, of a step of 500 ms.
        planted = figures(train__bf16__update=15, train__bf16__step=500, train__bf16__parameters=1e9, ceilings__copy=4)
        line, = line_of("optimizer + norm, of the step", planted)
        self.assertAlmostEqual(line["ours"], 3)
        self.assertAlmostEqual(line["peer"], 1.7)
        self.assertEqual(line["verdict"], "must")
        line, = line_of("R1 batch 8, of the ceiling",
                        figures(step__b8__graph=90e3, step__b8__flops_per_token=5.6e9, ceilings__matmul=760))
        self.assertAlmostEqual(line["ours"], 504)
        self.assertEqual(line["verdict"], "aim")
        line, = line_of("10k, local/global over all-global", figures(
            documents__local__graph=60e3, documents__global__graph=40e3, documents__local__flops_per_token=6e9,
            documents__global__flops_per_token=10e9))
        self.assertAlmostEqual(line["ratio"], 0.9)
        self.assertEqual(line["verdict"], "must")
        bound = (2 * 8192 * 102400 + 4 * 2048 * 102400) / 2**30  # of bf16 logits and an fp32 gradient
        self.assertAlmostEqual(line_of("linear cross entropy, more memory", figures(layer__loss__peak=1.6))[0]["peer"], bound)

    def test_the_text(self):
        planted = figures(ops__permute=3.9, ceilings__copy=4.0, ceilings__matmul=770)
        text = gpu_table.render(gpu_table.evaluate(planted, "NVIDIA H200", ["ops"]), "NVIDIA H200", planted)
        self.assertTrue(text.startswith("NVIDIA H200\nceilings of the same run: 770 TFLOP/s in bf16 products, 4.00 TB/s in copies\n"))
        row = next(line for line in text.splitlines() if line.startswith("permute"))
        self.assertEqual(row.split(), "permute 3.90 TB/s 7 copy 4.00 TB/s 0.97x >= 0.8x >= 0.9x aim".split())
        self.assertRegex(text, "combine +- .*not measured")
        self.assertNotIn("grouped", text)


class Script(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="conclave-bench-")
        self.addCleanup(folder.cleanup)
        self.build = pathlib.Path(folder.name)
        (self.build / "bin").mkdir()
        self.program("bench_gpu_ops", 'echo "gpu NVIDIA H200 (cuda:0)"\n[ "$1" != --ceilings ] || '
                     '{ echo "figure copy = 4 TB/s (n=5)"; echo "figure matmul = 770 TFLOP/s (n=5)"; exit 0; }\n'
                     'echo "figure permute = 3.9 TB/s (n=20)"')
        self.program("bench_gpu_grouped", 'echo "figure balanced.bf16.forward.taken = 1 TFLOP/s (n=2)"\necho noise >&2\necho broken >&2\nexit 1')

    def program(self, name, script):
        file = self.build / "bin" / name
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(0o755)

    def run_script(self, *arguments):
        return subprocess.run([sys.executable, HERE / "gpu", *arguments], text=True, capture_output=True,
                              env={**os.environ, "CONCLAVE_BUILD_DIR": str(self.build)})

    def test_a_part_that_fails_is_said_and_the_others_go_on(self):
        out = self.build / "out.json"
        done = self.run_script("--only", "grouped,ops", out)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^permute .* aim$")
        self.assertRegex(done.stdout, r"(?m)^error: grouped: bench_gpu_grouped for grouped: broken$")
        kept = json.loads(out.read_text())
        self.assertEqual((kept["gpu"], kept["quick"], len(kept["errors"])), ("NVIDIA H200 (cuda:0)", False, 1))
        self.assertEqual(kept["figures"]["grouped.balanced.bf16.forward.taken"], {"value": 1, "unit": "TFLOP/s", "n": 2})
        permute = next(row for row in kept["rows"] if row["label"] == "permute")
        self.assertEqual((permute["ours"], permute["peer"], permute["verdict"]), (3.9, 4, "aim"))
        self.assertEqual(self.run_script("--show", out).stdout, done.stdout)

    def test_a_part_without_end_is_ended(self):
        # 0.1 s instead of minutes; what it had measured stays, and no child of its is left to hold the pipes.
        script = (HERE / "gpu").read_text().replace("max(120, 5 * job.seconds)", "0.1 if job.part == 'grouped' else 60")
        script = script.replace("HERE = pathlib.Path(__file__).resolve().parent", f"HERE = pathlib.Path({str(HERE)!r})")
        self.program("bench_gpu_grouped", "sleep 600 & wait")
        (self.build / "gpu").write_text(script)
        done = subprocess.run([sys.executable, self.build / "gpu", "--only", "grouped,ops"], text=True, capture_output=True, timeout=60,
                              env={**os.environ, "CONCLAVE_BUILD_DIR": str(self.build)})
        self.assertEqual(done.returncode, 1)
        self.assertIn("bench_gpu_grouped for grouped: ended after 0.1 s", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^permute .* aim$")

    def test_all_measured_is_0(self):
        done = self.run_script("--only", "ops")
        self.assertEqual((done.returncode, done.stdout.split("\n")[0]), (0, "NVIDIA H200 (cuda:0)"))

    def test_what_cannot_be_is_refused(self):
        self.assertEqual(self.run_script("--only", "opps").returncode, 2)
        self.program("bench_gpu_ops", 'echo "no NVIDIA driver on this machine" >&2; exit 3')
        done = self.run_script()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (3, "", "no NVIDIA driver on this machine\n"))
        (self.build / "bin/bench_gpu_ops").unlink()
        done = self.run_script()
        self.assertEqual(done.returncode, 3)
        self.assertIn("--target benchmarks", done.stderr)


if __name__ == "__main__":
    unittest.main()
