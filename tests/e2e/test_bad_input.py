"""Each wrong input has a named error and the exit code of its kind."""

import json
import os
import pathlib
import socket
import subprocess

from harness import CONCLAVE, ConclaveTest, TINY, write_corpus


class BadInput(ConclaveTest):
    def test_every_error_of_a_file_at_once(self):
        bad = self.dir / "bad.yaml"
        bad.write_text(TINY.read_text().replace("clip_grad_norm", "clip_grad_nrom").replace("lr: 3e-3", "lr: fast")
                       .replace("filter/exact-dedup", "filter/exact-dedupe"))
        said = self.run_conclave("--run-dir", "run", experiment=bad, code=2)
        for part in ("clip_grad_nrom", "did you mean clip_grad_norm", "optimizer.with.lr", "filter/exact-dedupe", "bad.yaml:"):
            self.assertIn(part, said)
        self.assertFalse((self.dir / "run").exists(), "nothing may be made before the experiment is right")

    def test_a_corpus_without_files(self):
        for domain in ("prose", "lists"):
            (self.dir / "none" / domain).mkdir(parents=True)
        said = self.run_conclave("--run-dir", "run", text=self.dir / "none", code=2)
        self.assertIn(f"no file matches {self.dir}/none/prose/*.txt: check the path", said)

    def test_a_corpus_of_empty_files(self):
        write_corpus(self.dir / "text")
        for file in (self.dir / "text/lists").iterdir():
            file.write_text("")
        said = self.run_conclave("--run-dir", "run", text=self.dir / "text", code=2)
        self.assertIn("domain 'lists' has no document: its source read none: check what its source names", said)

    def test_partial_batches(self):
        said = self.run_conclave("--run-dir", "run", "--set", "data.batching.drop_last=false", code=2)
        self.assertIn("data.batching.drop_last: every batch is full", said)

    def test_a_mark_that_is_no_token(self):
        said = self.run_conclave("--run-dir", "run", "--set",
                                 "data.fill_in_middle={rate: 0.5, prefix: <p>, suffix: <s>, middle: <m>}", code=2)
        self.assertIn("data.fill_in_middle.prefix: '<p>' is 3 tokens of tokenizer/bytes, not one: name a special token", said)

    def test_a_corpus_smaller_than_one_batch(self):
        write_corpus(self.dir / "few", files=2)
        said = self.run_conclave("--run-dir", "run", "--set", "train.batch=4000", "--set", "train.micro_batch=4", text=self.dir / "few", code=2)
        self.assertIn("4000", said)

    def test_bytes_that_are_not_utf8(self):
        write_corpus(self.dir / "text")
        (self.dir / "text/prose/bad.txt").write_bytes(b"caf\xe9 \xff\xfe stones " * 50)
        said = self.run_conclave("--run-dir", "run", "--stop-after", 1, text=self.dir / "text")
        self.assertRegex(said, r"source +prose +kept +41 documents, dropped +0")
        domains = json.loads((self.dir / "run/data.json").read_text())["domains"]
        self.assertEqual({d["name"]: d["repaired_documents"] for d in domains}, {"prose": 1, "lists": 0})
        said = self.run_conclave("--run-dir", "other", "--stop-after", 1, "--set", "data.invalid_utf8=drop", text=self.dir / "text")
        self.assertRegex(said, r"source +prose +kept +40 documents, dropped +1 \(1 invalid-utf8\)")

    def test_two_runs_in_one_directory(self):
        first = self.start("--run-dir", "run", "--set", "train.steps=5000")
        try:
            lines = iter(first.stderr.readline, "")
            for line in lines:
                if "parameters" in line:
                    break
            said = self.run_conclave("--run-dir", "run", "--resume", code=5)
            self.assertIn(str(first.pid), said)
        finally:
            first.kill()
            first.communicate()

    def test_a_run_directory_with_checkpoints_needs_resume(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 4)
        said = self.run_conclave("--run-dir", "run", code=5)
        self.assertIn("--resume", said)

    def test_a_run_directory_that_cannot_be_made(self):
        (self.dir / "file").write_text("in the way")
        said = self.run_conclave("--run-dir", "file/run", code=5)
        self.assertIn("--run-dir", said)

    def test_a_run_directory_that_is_read_only(self):
        folder = self.dir / "read-only"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)], text=True, capture_output=True)
        if done.returncode != 0:
            self.skipTest(f"cannot mount a tmpfs here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(folder)])
        said = self.run_conclave("--run-dir", folder / "run", code=5)
        self.assertIn("Read-only file system", said)
        self.assertIn("--run-dir", said)

    def test_a_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.run_conclave("--run-dir", "run", "--set",
                                     f"monitors=[{{use: monitor/prometheus, with: {{listen: '127.0.0.1:{port}'}}}}]", code=3)
        self.assertIn(f"port {port} of 127.0.0.1 is in use", said)
        self.run_conclave("--run-dir", "run", "--stop-after", 1)

    def test_another_vocabulary_than_the_checkpoints(self):
        self.run_conclave("--run-dir", "run", "--stop-after", 4)
        other = ("--set", "data.tokenizer={use: tokenizer/bytes, with: {padding: false}}")
        for arguments in ((), ("--allow-change",)):
            said = self.run_conclave("--run-dir", "run", "--resume", *arguments, *other, code=2)
            self.assertIn("a vocabulary of 259 tokens, the experiment's tokenizer one of 258", said)
        self.run_conclave("--run-dir", "run", "--resume")

    def test_a_layout_that_the_ranks_do_not_make(self):
        said = self.run_conclave("--run-dir", "run", "--set", "parallel.tensor=2", code=3)
        self.assertIn("tensor 2 x pipeline 1 = 2 does not divide 1 ranks", said)
        said = self.run_conclave("--run-dir", "run", "--ranks", "2", "--set", "parallel.data=4", "--set", "train.micro_batch=2", code=3)
        self.assertIn("tensor 1 x pipeline 1 x data 4 = 4 ranks, but the run has 2", said)

    def test_a_gpu_that_is_not_there(self):
        if os.path.exists("/dev/nvidiactl"):
            self.skipTest("this machine has a GPU")
        said = self.run_conclave("--run-dir", "run", "--device", "cuda", code=3)
        self.assertIn("--device cpu", said)

    def test_gradients_over_the_limit_end_the_run_with_the_last_good_state(self):
        said = self.run_conclave("--run-dir", "run", "--set", "train.grad_norm_limit=1e-6", "--set", "train.clip_grad_norm=1e-6", "--set", "train.max_skipped=3", code=4)
        self.assertIn("3 steps in a row", said)
        kept = [p.name for p in pathlib.Path(self.dir / "run/checkpoints").iterdir() if (p / "manifest.json").exists()]
        self.assertEqual(kept, ["step-00000003"])
