"""tools/launch/slurm under a real Slurm: the same run as by `--ranks`, through preemption, as an array; and when it gives up."""

import json
import pathlib
import shutil
import stat
import tempfile
import time
import unittest

import slurm_cluster
from launched import CONCLAVE, EXPERIMENT, RANKS, ROOT, LaunchedTest
from harness import metrics, prepared

# What the headers ask of a real cluster, in the size of this one.
SMALL = ("--nodes=1", f"--ntasks-per-node={RANKS}", "--gpus-per-node=0", "--cpus-per-task=1", "--time=30")


@unittest.skipIf(slurm_cluster.missing(), slurm_cluster.missing())
class Slurm(LaunchedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Not in the tests' folder: a socket's path is short.
        cls.cluster_folder = tempfile.mkdtemp(prefix="slurm-")
        cls.addClassCleanup(shutil.rmtree, cls.cluster_folder, ignore_errors=True)
        cls.cluster = slurm_cluster.SlurmCluster(pathlib.Path(cls.cluster_folder) / "cluster")
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self):
        super().setUp()
        # As a checkout: the scripts are where sbatch is called.
        (self.dir / "tools").mkdir()
        (self.dir / "tools/launch").symlink_to(ROOT / "tools/launch")

    def submit(self, script, *arguments, options=(), **variables):
        variables = {"CONCLAVE": CONCLAVE, "OMP_NUM_THREADS": 1, "XDG_CACHE_HOME": self.shared / "cache", "CHECK_FREE_GB": 1,
                     **variables}
        return self.cluster.submit(*SMALL, *options, f"tools/launch/slurm/{script}", *arguments, cwd=self.dir,
                                   variables=variables)

    def train(self, *arguments, script="train.sbatch", options=(), **variables):
        return self.submit(script, EXPERIMENT, *self.settings(), *arguments, options=options, **variables)

    def output(self):
        return "\n".join(log.read_text() for log in sorted(self.dir.glob("slurm-*.log")))

    def wait(self, job, state):
        ended = self.cluster.wait(job, 300)
        self.assertEqual(ended["JobState"], state, self.output())
        return ended

    def until(self, condition):
        deadline = time.monotonic() + 120
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.output())
            time.sleep(0.05)

    def fake(self, script):
        """A stand-in for the program: a bash script that finds the run directory in $run and counts its starts there."""
        program = self.dir / "fake"
        program.write_text(f"""#!/bin/bash
while [ "$1" != --run-dir ]; do shift; done
run=$2
[ "$SLURM_PROCID" != 0 ] || echo start >>"$run/starts"
{script}
""")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return self.submit("train.sbatch", "fake.yaml", CONCLAVE=program, RUN_DIR="run")

    def starts(self):
        file = self.dir / "run/starts"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def test_the_same_run(self):
        job = self.train()
        self.wait(job, "COMPLETED")
        run = self.dir / f"runs/{EXPERIMENT.stem}-{job}"
        self.assert_ended_well(run, "srun")
        self.assert_same_run(self.straight(), run)

    def test_a_preempted_run_comes_back_and_ends_the_same(self):
        self.steps = 400
        more = ("--set", "train.steps=400")
        job = self.train(*more)
        rows = self.dir / f"runs/tiny-{job}/metrics.jsonl"
        self.until(lambda: rows.exists() and len(rows.read_text().splitlines()) > 10)
        self.cluster.run("scancel", "--signal=USR1", job)
        ended = self.wait(job, "COMPLETED")
        self.assertEqual(ended["Restarts"], "1")
        self.assertIn("requeued after exit 75", self.output())
        run = self.dir / f"runs/tiny-{job}"
        self.assert_ended_well(run, "srun", attempts=2)
        first = json.loads((run / "record.json").read_text())["attempts"][1]["first_step"]
        self.assertGreaterEqual(first, 10)
        self.assert_same_run(self.straight(*more), run)

    def test_an_array_of_seeds(self):
        job = self.train(script="sweep.sbatch", options=("--array=1-2",))
        for task in (1, 2):
            self.wait(f"{job}_{task}", "COMPLETED")
            self.assert_ended_well(self.dir / f"runs/tiny-{job}_{task}", "srun")
        self.assertNotEqual(metrics(self.dir / f"runs/tiny-{job}_1"), metrics(self.dir / f"runs/tiny-{job}_2"))
        self.assert_same_run(self.straight("--set", "seed=2"), self.dir / f"runs/tiny-{job}_2")

    def prepare(self, *options, cache):
        return self.submit("prepare.sbatch", EXPERIMENT, *self.settings()[2:4], options=("--ntasks-per-node=1", *options),
                           XDG_CACHE_HOME=self.dir / cache)

    def test_an_array_shares_out_the_preparation(self):
        # One task at a time: the first one makes everything, as it must when the others come late or never.
        for cache, array in (("alone", "0-0"), ("shared", "3-9:2"), ("late", "0-3%1")):
            job = self.prepare(f"--array={array}", cache=cache)
            first, _, last = array.partition("%")[0].partition(":")[0].partition("-")
            for task in range(int(first), int(last) + 1, 2 if ":" in array else 1):
                self.wait(f"{job}_{task}", "COMPLETED")
        self.assertEqual(prepared(self.dir / "alone"), prepared(self.dir / "shared"))
        self.assertEqual(prepared(self.dir / "alone"), prepared(self.dir / "late"))

    def test_the_end_of_the_time_is_told_to_every_rank(self):
        # --signal goes to the script alone, which hands it on. The second attempt is done at once.
        job = self.fake("""trap 'exit 75' USR1
[ "$(wc -l <"$run/starts")" = 1 ] || exit 0
touch "$run/up.$SLURM_PROCID"
sleep 100 & wait""")
        self.until(lambda: len(list((self.dir / "run").glob("up.*"))) == RANKS)
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        self.assertEqual(self.wait(job, "COMPLETED")["Restarts"], "1")

    def test_a_run_that_loses_ranks_without_progress_is_given_up(self):
        # 76 on most ranks, one killed: as when a node's memory is full each time.
        job = self.fake('if [ "$SLURM_PROCID" = 1 ]; then kill -9 $$; fi; exit 76')
        ended = self.wait(job, "FAILED")
        self.assertEqual((ended["Restarts"], ended["ExitCode"]), ("3", "76:0"))
        self.assertEqual(self.starts(), 4)
        self.assertIn("3 requeues brought no checkpoint", self.output())

    def test_progress_starts_the_count_again(self):
        # A checkpoint at the first and at the third start; MAX_STUCK is 3, so starts 4, 5 and 6 come to nothing.
        job = self.fake("""n=$(wc -l <"$run/starts")
case $n in 1 | 3) mkdir -p "$run/checkpoints/step-0000000$n"; touch "$run/checkpoints/step-0000000$n/manifest.json" ;; esac
exit 76""")
        self.assertEqual(self.wait(job, "FAILED")["Restarts"], "5")

    def test_what_would_end_so_again_is_not_requeued(self):
        # One rank's disk is full; the others only know that it left.
        job = self.fake("""if [ "$SLURM_PROCID" = 2 ]; then
  echo '{"attempt":0,"code":5,"reason":"disk full","step":3}' >"$run/exit.2.json"; exit 5
fi
sleep 1
echo '{"attempt":0,"code":76,"reason":"rank 2 left","step":3}' >"$run/exit.$SLURM_PROCID.json"
exit 76""")
        ended = self.wait(job, "FAILED")
        self.assertEqual((ended["Restarts"], ended["ExitCode"]), ("0", "5:0"))

    def test_a_cancelled_job_stays_away(self):
        job = self.fake("""trap 'exit 75' TERM
touch "$run/up.$SLURM_PROCID"
sleep 100 & wait""")
        self.until(lambda: len(list((self.dir / "run").glob("up.*"))) == RANKS)
        self.cluster.run("scancel", job)
        self.wait(job, "CANCELLED")
        time.sleep(3)  # a requeue would show by now
        self.assertEqual((self.cluster.state(job), self.starts()), ("CANCELLED", 1))

    def test_a_bad_node_starts_no_rank(self):
        job = self.submit("train.sbatch", "fake.yaml", CONCLAVE="/bin/false", CHECK_FREE_GB=10**9)
        self.assertEqual(self.wait(job, "FAILED")["ExitCode"], "3:0")
        self.assertIn("FAIL space", self.output())


if __name__ == "__main__":
    unittest.main()
