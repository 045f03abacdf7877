"""Sweeps and their comparison: whole runs, planted faults, and the page in a browser."""

import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

from browser import Browser, find_chromium
from harness import CONCLAVE, TINY, ConclaveTest

SWEEP = """
conclave: 1
extends: %s
name: ab
train: {steps: 30}
evaluate: {every: 15, batches: 2}
sweep:
  grid: {optimizer.with.lr: [3e-3, 1e-4], train.recompute: [false, true]}
  seeds: 3
""" % TINY


class Compare(ConclaveTest):
    def verb(self, *arguments, code=0, error=False):
        done = subprocess.run([CONCLAVE, *map(str, arguments)], cwd=self.dir, env=self.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=600)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stderr if error else done.stdout

    def sweep(self, *arguments, **keywords):
        (self.dir / "ab.yaml").write_text(SWEEP)
        return self.verb("sweep", "ab.yaml", "--quiet", "--device", "cpu", "--set", f"vars.text={self.shared}/text", *arguments,
                         **keywords)

    def test_a_sweep_from_check_to_verdicts(self):
        (self.dir / "ab.yaml").write_text(SWEEP)
        said = self.verb("check", "ab.yaml", "--set", f"vars.text={self.shared}/text")
        self.assertIn("\n  sweep of 12 members: lr=3e-3,recompute=false,seed=7 lr=3e-3,recompute=false,seed=8 ", said)
        self.assertEqual(self.sweep("--list").count("to run    runs/ab/lr="), 12)
        said = self.sweep()
        self.assertIn("[12/12] lr=1e-4,recompute=true,seed=9: runs/ab/lr=1e-4,recompute=true,seed=9\n", said)
        self.assertIn("All 12 members are finished.", said)

        record = json.loads((self.dir / "runs/ab/lr=1e-4,recompute=true,seed=8/record.json").read_text())
        self.assertEqual(record["sweep"], {"name": "ab", "member": "lr=1e-4,recompute=true,seed=8", "index": 10})
        self.assertEqual(record["settings"]["optimizer.with.lr"]["affects"], "numerics")
        # A member is an ordinary run: the same by hand gives the same numbers.
        self.run_conclave("--run-dir", "by-hand", "--set", "optimizer.with.lr=1e-4", "--set", "train.recompute=true", "--set",
                          "seed=8", experiment=self.dir / "ab.yaml")
        self.assert_same_metrics(self.dir / "runs/ab/lr=1e-4,recompute=true,seed=8", self.dir / "by-hand")

        # Finished members are left alone.
        before = (self.dir / "runs/ab/lr=1e-4,recompute=true,seed=8/log.0.txt").stat().st_mtime_ns
        self.assertEqual(self.sweep().count(" is finished\n"), 12)
        self.assertEqual((self.dir / "runs/ab/lr=1e-4,recompute=true,seed=8/log.0.txt").stat().st_mtime_ns, before)

        comparison = json.loads(self.verb("compare", "ab", "--json"))
        self.assertEqual([group["label"] for group in comparison["groups"]],
                         ["lr=0.003, recompute=false", "lr=0.003, recompute=true", "lr=1e-4, recompute=false",
                          "lr=1e-4, recompute=true"])
        speed_only, worse = comparison["verdicts"][0], comparison["verdicts"][1]
        self.assertEqual(speed_only["outcome"], "same numbers")
        self.assertIn("B computes the numbers of A: no setting that affects them differs, and their losses are equal bit for bit "
                      "in all 90 steps that they have in common", speed_only["sentence"])
        self.assertEqual(worse["outcome"], "worse")
        self.assertEqual(worse["test"]["method"], "paired t over the same batches")
        # By how much, from the rows themselves.
        means = [sum(self.held_out(f"runs/ab/lr={lr},recompute=false,seed={seed}") for seed in (7, 8, 9)) / 3 for lr in ("3e-3", "1e-4")]
        self.assertAlmostEqual(worse["test"]["difference"], means[1] - means[0], places=12)
        settings = {difference["key"]: difference for difference in comparison["differences"]}
        self.assertEqual(settings["train.recompute"]["affects"], "speed")
        self.assertEqual(settings["train.recompute"]["variants"][1]["whose"], ["B", "D"])
        self.assertRegex(settings["optimizer.with.lr"]["variants"][1]["origin"], r"ab\.yaml:8:36$")

        # Two runs that differ by seed only.
        said = self.verb("compare", "runs/ab/lr=3e-3,recompute=false,*")
        self.assertIn("cannot tell the runs apart: they differ by seed only", said)
        # One seed each, and nothing known of the noise.
        said = self.verb("compare", "runs/ab/lr=3e-3,recompute=false,seed=7", "runs/ab/lr=1e-4,recompute=false,seed=7")
        self.assertIn("cannot tell B from A: one seed each", said)
        rows = list(csv.DictReader(io.StringIO(self.verb("compare", "ab", "--csv"))))
        self.assertEqual(len(rows), 12)
        self.assertEqual({row["state"] for row in rows}, {"finished"})
        said = self.verb("compare", "ab", "--baseline", "lr=0.003, recompute=tru", code=2, error=True)
        self.assertIn("there is no group or run 'lr=0.003, recompute=tru' to compare with: did you mean lr=0.003, recompute=true?", said)
        # Another experiment under a member's name would pass for it.
        said = self.sweep("--set", "train.batch=4", code=2, error=True)
        self.assertIn("holds a run of another experiment", said)

    def held_out(self, run):
        rows = map(json.loads, (self.dir / run / "metrics.jsonl").read_text().splitlines())
        return [row["eval_nll"] for row in rows if row["event"] == "evaluation"][-1]

    def test_a_member_that_fails_and_one_that_was_stopped(self):
        (self.dir / "ab.yaml").write_text(SWEEP.replace("train.recompute: [false, true]", "train.steps: [30, 2000]").replace(
            "[3e-3, 1e-4]", "[3e-3]").replace("seeds: 3", "seeds: [7]"))
        command = [CONCLAVE, "sweep", "ab.yaml", "--quiet", "--device", "cpu", "--set", f"vars.text={self.shared}/text"]
        process = subprocess.Popen(command, cwd=self.dir, env=self.environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        second = self.dir / "runs/ab/lr=3e-3,steps=2000,seed=7"
        while not (second / "checkpoints").is_dir() or not any(second.glob("checkpoints/step-*/manifest.json")):
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        said = self.verb("compare", "ab")  # while it runs
        self.assertIn("running", said)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, errors)
        self.assertIn("Stopped in lr=3e-3,steps=2000,seed=7; the same command goes on there.", errors)
        said = self.verb("compare", "ab")
        self.assertIn("lr=3e-3,steps=2000,seed=7: stopped at step ", said)
        self.assertIn("to go on  runs/ab/lr=3e-3,steps=2000,seed=7", self.verb("sweep", "ab.yaml", "--list", "--set",
                                                                               f"vars.text={self.shared}/text"))
        # A member that cannot start leaves the others alone.
        shutil.rmtree(second)
        second.write_text("in the way")
        said = self.verb(*command[1:], code=5, error=True)
        self.assertIn("1 of 2 members failed", said)

    def test_what_check_finds_in_members(self):
        (self.dir / "x.yaml").write_text(SWEEP.replace("[3e-3, 1e-4]", "[3e-3, fast]"))
        said = self.verb("check", "x.yaml", "--set", f"vars.text={self.shared}/text", code=2, error=True)
        self.assertRegex(said, r"x\.yaml:8:36: optimizer\.with\.lr: .* \(member lr=fast,recompute=false,seed=7\)")
        (self.dir / "x.yaml").write_text(SWEEP.replace("seeds: 3", "seeds: 1000"))
        said = self.verb("check", "x.yaml", "--set", f"vars.text={self.shared}/text", code=2, error=True)
        self.assertIn("2 x 2 x 1000 = 4000 members are more than the limit of 64: vary less, or set sweep.limit", said)
        self.assertIn("has no sweep: block", self.verb("sweep", TINY, "--set", f"vars.text={self.shared}/text", code=2, error=True))

    def test_a_slurm_array(self):
        said = self.sweep("--slurm", "ab.sbatch")
        self.assertEqual(said, "ab.sbatch has 12 tasks: sbatch ab.sbatch\n")
        tools = self.dir / "tools/launch/slurm"
        tools.mkdir(parents=True)
        (tools / "train.sbatch").write_text('printf "%s\\n" "$RUN_DIR" "$@"\n')
        out = subprocess.run(["bash", "ab.sbatch"], cwd=self.dir, text=True, stdout=subprocess.PIPE, check=True,
                             env={**os.environ, "SLURM_ARRAY_TASK_ID": "9", "SLURM_SUBMIT_DIR": str(self.dir)}).stdout
        self.assertEqual(out.splitlines(), ["runs/ab/lr=1e-4,recompute=true,seed=7", "ab.yaml", "--member",
                                            "lr=1e-4,recompute=true,seed=7", "--set", f"vars.text={self.shared}/text"])

    def test_damaged_runs_are_marked_and_never_fatal(self):
        self.run_conclave("--run-dir", "runs/whole", "--set", "train.steps=8")
        for name in ("torn", "no-record", "no-exit", "garbage", "empty", "older"):
            shutil.copytree(self.dir / "runs/whole", self.dir / f"runs/{name}")
        metrics = self.dir / "runs/torn/metrics.jsonl"
        metrics.write_bytes(metrics.read_bytes()[:-300])
        (self.dir / "runs/no-record/record.json").unlink()
        (self.dir / "runs/no-exit/exit.0.json").unlink()
        (self.dir / "runs/garbage/record.json").write_bytes(bytes(range(256)))
        (self.dir / "runs/garbage/metrics.jsonl").write_bytes(bytes(range(256)))
        (self.dir / "runs/empty/metrics.jsonl").write_text("")
        record = json.loads((self.dir / "runs/older/record.json").read_text())
        del record["settings"]
        (self.dir / "runs/older/record.json").write_text(json.dumps(record))
        said = self.verb("compare", "runs")
        self.assertIn("no-record: record.json is missing", said)
        self.assertIn("no-exit: crashed: it ended without writing how", said)
        self.assertRegex(said, r"torn: 1 lines of its metrics cannot be read")
        self.assertIn("older: written by an older version", said)
        self.assertRegex(said, r"left out: .*runs/garbage: no step is left of it \(record\.json is damaged")
        self.assertRegex(said, r"left out: .*runs/empty: no step is left of it")
        self.assertIn("no run is left to compare", self.verb("compare", "runs/empty", code=2, error=True))
        self.assertIn("is no run directory", self.verb("compare", "nothing*", code=2, error=True))


def plant(root, runs, steps):
    """Runs of made-up curves, ten seeds of each recipe."""
    for run in range(runs):
        folder = root / f"run-{run:03}"
        folder.mkdir(parents=True)
        setting = lambda value: {"value": value, "origin": "x.yaml:1:1", "affects": "numerics"}
        (folder / "record.json").write_text(json.dumps(
            {"schema": 1, "attempts": [{"model": {"flops_per_token": 1e6}}],
             "settings": {"seed": setting(str(run % 10)), "train.steps": setting(str(steps)), "model.with.k": setting(str(run // 10))}}))
        (folder / "exit.0.json").write_text(json.dumps({"code": 0, "step": steps}))
        with open(folder / "metrics.jsonl", "w") as rows:
            rows.write('{"event":"start","schema":1,"first_step":0}\n')
            for step in range(1, steps + 1):
                nll = 2 + 6 / (1 + step / 500) + (step * 7919 + run * 104729) % 1000 / 5000 + run // 10 / 50
                rows.write('{"event":"step","step":%d,"loss":%.4f,"nll":%.4f,"grad_norm":%.4f,"tokens":4096,"tokens_per_second":%d,'
                           '"step_seconds":0.04}\n' % (step, nll, nll, nll / 2, 100000 + step % 97))
            rows.write('{"event":"evaluation","step":%d,"eval_nll":%.4f,"eval_bits_per_byte":1}\n' % (steps, nll))


@unittest.skipUnless(find_chromium(), "no Chromium on this machine: THE PAGE OF compare IS NOT TESTED (apt-get install chromium)")
class Page(ConclaveTest):
    def make(self, runs, steps):
        plant(self.dir / "runs", runs, steps)
        done = subprocess.run([CONCLAVE, "compare", "runs", "--html", "page.html"], cwd=self.dir, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if "no plotting library" in done.stderr:
            self.skipTest("THE PAGE OF compare IS NOT TESTED: " + done.stderr)
        self.assertEqual(done.returncode, 0, done.stderr)
        browser = Browser()
        self.addCleanup(browser.close)
        return browser, self.dir / "page.html"

    drawn = """(() => {
      const canvas = document.querySelector('#chart canvas');
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
      copy.drawImage(canvas, 0, 0);
      const pixels = copy.getImageData(0, 0, canvas.width, canvas.height).data;
      let coloured = 0, sum = 0;
      for (let i = 0; i < pixels.length; i += 4)
        if (pixels[i + 3] > 0 && Math.max(pixels[i], pixels[i + 1], pixels[i + 2]) - Math.min(pixels[i], pixels[i + 1], pixels[i + 2]) > 40)
          { ++coloured; sum = (sum * 31 + i) % 1000003; }
      return [coloured, sum];
    })()"""

    def test_it_draws_and_answers_to_keys(self):
        browser, page = self.make(20, 300)
        browser.open(page)
        self.assertEqual(browser.run("document.getElementById('title').textContent"), "20 runs in 2 groups")
        whole = browser.run(self.drawn)
        self.assertGreater(whole[0], 500)
        # The way of the tab key: every control, the chart, the runs.
        order = []
        for _ in range(45):
            browser.press("Tab", 9)
            order.append(browser.run("document.activeElement.id || document.activeElement.type || document.activeElement.className"))
        wanted = ["verdicts", "metric", "axis", "smoothing", "log-x", "log-y", "bands", "reset", "chart", "filter", "show-all", "hide-all"]
        self.assertEqual(order[:len(wanted)], wanted)
        self.assertIn("checkbox", order[len(wanted):])
        # Keys on the chart zoom, and 0 shows the whole again.
        browser.run("document.getElementById('chart').focus()")
        browser.press("+", text="+")
        browser.frame()
        self.assertNotEqual(browser.run(self.drawn), whole)
        browser.press("ArrowRight", 39)
        browser.press("0", text="0")
        browser.frame()
        self.assertEqual(browser.run(self.drawn), whole)
        # Space on a run's box hides it; hiding all leaves no curve.
        browser.run("document.querySelector('#runs input').focus()")
        browser.press(" ", 32, text=" ")
        browser.frame()
        self.assertEqual(browser.run("document.querySelector('#runs input').checked"), False)
        browser.run("document.getElementById('hide-all').click()")
        browser.frame()
        self.assertEqual(browser.run(self.drawn)[0], 0)
        browser.run("document.getElementById('show-all').click()")
        # Every curve over every axis, smoothed, as groups, on log scales.
        count = browser.run("document.getElementById('metric').options.length")
        self.assertGreaterEqual(count, 5)
        browser.run("document.getElementById('smoothing').value = 50; "
                    "document.getElementById('smoothing').dispatchEvent(new Event('input'))")
        for change in ("", "document.getElementById('bands').click()", "document.getElementById('log-x').click()",
                       "document.getElementById('log-y').click()"):
            browser.run(change or "0")
            for metric in range(count):
                for axis in ("step", "tokens", "flops", "hours"):
                    browser.run(f"document.getElementById('metric').selectedIndex = {metric}; "
                                f"document.getElementById('axis').value = '{axis}'; "
                                "for (const id of ['metric', 'axis']) document.getElementById(id).dispatchEvent(new Event('change'))")
                    browser.frame()
                    self.assertGreater(browser.run(self.drawn)[0], 0, (change, metric, axis))
        self.assertEqual(browser.problems, [])

    def test_two_hundred_runs(self):
        browser, page = self.make(200, 2000)
        seconds = browser.open(page)
        self.assertGreater(browser.run(self.drawn)[0], 2000)
        self.assertEqual(browser.run("document.querySelectorAll('#run-table tbody tr').length"), 200)
        self.assertEqual(browser.problems, [])
        print(f"the page of 200 runs was there after {seconds:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
