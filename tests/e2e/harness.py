"""What the end-to-end tests share: a made-up corpus, a way to start the binary, and readers of what it leaves."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

CONCLAVE = os.environ["CONCLAVE"]
TINY = pathlib.Path(__file__).parent / "tiny.yaml"
# Times differ between runs by nature; everything else of a row must not.
TIMES = {"tokens_per_second", "step_seconds", "data_wait_seconds", "attempt"}


def write_corpus(root, files=40, seed=1):
    """Two domains of deterministic pseudo-sentences, enough for a few dozen tiny batches."""
    words = "the a river stone walks under light over green small house and then slowly turns into water".split()
    draw = random.Random(seed)
    for domain, ending in (("prose", ". "), ("lists", "\n- ")):
        folder = pathlib.Path(root) / domain
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(files):
            text = ending.join(" ".join(draw.choices(words, k=draw.randint(5, 12))) for _ in range(20))
            (folder / f"{i:03}.txt").write_text(f"{domain} {i}\n{text}\n")


def metrics(run_dir):
    """Step and evaluation rows of metrics.jsonl by (event, step), later attempts superseding, without times."""
    rows = {}
    with open(pathlib.Path(run_dir) / "metrics.jsonl") as lines:
        for line in lines:
            row = json.loads(line)
            if row["event"] in ("step", "evaluation"):
                rows[(row["event"], row["step"])] = {k: v for k, v in row.items() if k not in TIMES}
    return rows


def prepared(cache):
    """What a cache of prepared data holds: {stage folder: (facts, {file: digest})}; a folder that is not whole is an error."""
    found = {}
    for folder in (pathlib.Path(cache) / "conclave/data").iterdir():
        if folder.name != ".locks":
            manifest = json.loads((folder / "manifest.json").read_text())
            found[folder.name] = (manifest["facts"], {file["name"]: file["digest"] for file in manifest["files"]})
    return found


class ConclaveTest(unittest.TestCase):
    """Gives each test a folder with a corpus, a data cache of its own and helpers to run."""

    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="conclave-e2e-"))
        write_corpus(cls.shared / "text")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.shared, ignore_errors=True)

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(dir=self.shared))

    def environment(self):
        return {**os.environ, "XDG_CACHE_HOME": str(self.shared / "cache")}

    def command(self, *arguments, experiment=TINY, text=None):
        return [CONCLAVE, "run", str(experiment), "--device", "cpu", "--set", f"vars.text={text or self.shared / 'text'}",
                *map(str, arguments)]

    def run_conclave(self, *arguments, code=0, **keywords):
        """Runs to the end, checks the exit code and returns stdout + stderr."""
        done = subprocess.run(self.command(*arguments, **keywords), cwd=self.dir, env=self.environment(), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def start(self, *arguments, **keywords):
        return subprocess.Popen(self.command(*arguments, **keywords), cwd=self.dir, env=self.environment(),
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def assert_same_metrics(self, straight, other):
        expected, found = metrics(straight), metrics(other)
        self.assertEqual(sorted(expected), sorted(found))
        for key, row in expected.items():
            self.assertEqual(row, found[key], f"{key} differs")
