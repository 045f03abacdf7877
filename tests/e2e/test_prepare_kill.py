"""kill -9 while data is prepared, in every stage, of a process alone and of tasks: started again, it ends with the same bytes."""

import os
import pathlib
import random
import subprocess
import time

from harness import CONCLAVE, TINY, ConclaveTest, prepared, write_corpus

KILLS = 50
STAGES = ("read", "annotate", "select", "tokenizer", "tokens", "gated", "corpus")
EXPERIMENT = """
conclave: 1
extends: %s
name: killed
data:
  filters:
    - {use: filter/length, with: {min_bytes: 800}}
    - {use: filter/exact-dedup}
    - {use: filter/simhash}
  tokenizer: {use: tokenizer/sentencepiece, with: {vocabulary: 300}}
  workers: 2
""" % TINY


class Kill(ConclaveTest):
    def start(self, cache, *arguments):
        command = [CONCLAVE, "prepare", "killed.yaml", "--quiet", "--set", f"vars.text={self.dir / 'text'}", *arguments]
        return subprocess.Popen(command, cwd=self.dir, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, text=True,
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, processes):
        for process in processes:
            _, said = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, said)

    def in_stage(self, cache, stage):
        try:
            return any(name.startswith(stage + "-") and name.endswith(".partial") for name in os.listdir(cache / "conclave/data"))
        except FileNotFoundError:
            return False

    def test_random_kills_change_nothing(self):
        write_corpus(self.dir / "text", files=1500)
        (self.dir / "killed.yaml").write_text(EXPERIMENT)
        straight = self.dir / "straight"
        self.finish([self.start(straight)])
        expected = prepared(straight)
        draw = random.Random(5)
        hit = dict.fromkeys(STAGES, 0)
        for kill in range(KILLS):
            stage = STAGES[kill % len(STAGES)]
            cache = self.dir / f"cache-{kill}"
            tasks = [()] if kill % 2 else [("--task", f"{i}/2") for i in range(2)]
            processes = [self.start(cache, *task) for task in tasks]
            deadline = time.monotonic() + 120
            while not self.in_stage(cache, stage) and any(process.poll() is None for process in processes):
                self.assertLess(time.monotonic(), deadline)
            time.sleep(draw.choice((0, 0.001, 0.01, 0.05)) * draw.random())
            hit[stage] += self.in_stage(cache, stage)
            for process in processes:
                process.kill()
                process.communicate()
            self.finish([self.start(cache, *task) for task in tasks])
            self.assertEqual(prepared(cache), expected, f"kill {kill} in {stage}")
            subprocess.run(["rm", "-rf", str(cache)], check=True)
        print(f"{KILLS} kills, of which inside a stage: {hit}")
        for stage in STAGES:
            self.assertGreater(hit[stage], 0, stage)
