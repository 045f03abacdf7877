"""Full disks, damaged caches, empty and tiny files while data is prepared: clear errors, and with the fault gone the same bytes."""

import os
import pathlib
import shutil
import subprocess
import time
import unittest

from harness import CONCLAVE, TINY, ConclaveTest, prepared, write_corpus


class PrepareFaults(ConclaveTest):
    def prepare(self, cache, *arguments, text=None, code=0):
        command = [CONCLAVE, "prepare", str(TINY), "--set", f"vars.text={text or self.shared / 'text'}", *arguments]
        done = subprocess.run(command, cwd=self.dir, env={**os.environ, "XDG_CACHE_HOME": str(cache)}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def test_a_full_disk(self):
        write_corpus(self.dir / "text", files=400)
        self.prepare(self.dir / "straight", text=self.dir / "text")
        expected = prepared(self.dir / "straight")
        small = self.dir / "small"
        small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], text=True, capture_output=True)
        if done.returncode != 0:
            raise unittest.SkipTest(f"cannot mount a tmpfs here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", str(small)])
        # With more and more room it fails in one stage after another.
        failures = 0
        for kilobytes in (256, 512, 1024, 1536, 2048, 2560, 3072, 3584, 16384):
            subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(small)], check=True)
            done = subprocess.run([CONCLAVE, "prepare", str(TINY), "--set", f"vars.text={self.dir / 'text'}"], cwd=self.dir, text=True,
                                  env={**os.environ, "XDG_CACHE_HOME": str(small)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if done.returncode == 0:
                break
            failures += 1
            self.assertEqual(done.returncode, 5, done.stdout)
            self.assertIn("No space left on device", done.stdout)
            self.assertIn("data.cache chooses another folder", done.stdout)
        self.assertGreaterEqual(failures, 2)
        self.assertEqual(prepared(small), expected)

    def test_truncated_stages_are_made_again(self):
        self.prepare(self.dir / "cache")
        expected = prepared(self.dir / "cache")
        for name, (_, files) in expected.items():
            folder = self.dir / "cache/conclave/data" / name
            for file in [*files, "manifest.json"]:
                path = folder / file
                if path.stat().st_size == 0:
                    continue
                # Files may be links of other stages' files: only this one is to be cut.
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content[:-1])
                for corpus in (self.dir / "cache/conclave/data").glob("corpus-*"):
                    if corpus != folder:
                        shutil.rmtree(corpus)
                self.prepare(self.dir / "cache")
                self.assertEqual(prepared(self.dir / "cache"), expected, f"{name}/{file}")

    def rss_anon(self, process):
        """The most that it held beside the pages of mapped files, which the kernel takes back as it likes, in MiB."""
        most = 0
        while process.poll() is None:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            most = max([most, *(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))])
            time.sleep(0.005)
        self.assertEqual(process.returncode, 0)
        return most

    def test_a_line_of_a_gibibyte(self):
        with open(self.dir / "lines.jsonl", "wb") as file:
            file.write(b'{"text": "before the river"}\n' * 100)
            file.seek(1 << 30, os.SEEK_CUR)  # a hole: zeros, and no room on the disk
            file.write(b'\n' + b'{"text": "behind the river"}\n' * 100)
        (self.dir / "lines.yaml").write_text(f"""
conclave: 1
extends: {TINY}
name: lines
data:
  domains: {{lines: {{share: 1, source: {{use: source/jsonl, with: {{paths: {self.dir}/lines.jsonl}}}}}}}}
  filters: []
""")
        with open(self.dir / "said", "w") as said:
            process = subprocess.Popen([CONCLAVE, "prepare", "lines.yaml", "--set", f"vars.text={self.shared / 'text'}"], cwd=self.dir,
                                       stderr=said, env={**os.environ, "XDG_CACHE_HOME": str(self.dir / "cache")})
        self.assertLess(self.rss_anon(process), 512)
        self.assertRegex((self.dir / "said").read_text(), r"source +lines +kept +200 documents, dropped +1 \(1 unreadable-record\)")

    def test_memory_does_not_grow_with_the_corpus(self):
        # 20 times as much text as the memory that is allowed for it, beside what the program itself takes.
        allowed, text = 10, "the river walks under a green stone and then slowly turns into water\n" * 30000  # MiB; 2 MB
        most = {}
        for name, files in (("small", 1), ("large", 50)):
            for domain in ("prose", "lists"):
                (self.dir / name / domain).mkdir(parents=True)
                for i in range(files):
                    (self.dir / name / domain / f"{i}.txt").write_text(f"{domain} {i}\n{text}")
            command = [CONCLAVE, "prepare", str(TINY), "--quiet", "--set", f"vars.text={self.dir / name}", "--set", "data.memory=16MiB",
                       "--set", "data.workers=2"]
            most[name] = self.rss_anon(subprocess.Popen(command, cwd=self.dir,
                                                        env={**os.environ, "XDG_CACHE_HOME": str(self.dir / f"{name}-cache")}))
        print(f"RssAnon of {most['small']:.1f} MiB for 4 MB of text, {most['large']:.1f} MiB for 200 MB")
        self.assertLess(most["large"] - most["small"], allowed)

    def test_empty_and_tiny_files(self):
        write_corpus(self.dir / "text")
        for i in range(5000):
            (self.dir / f"text/prose/tiny-{i}.txt").write_text(f"{i}")
            (self.dir / f"text/lists/empty-{i}.txt").touch()
        said = self.prepare(self.dir / "cache", text=self.dir / "text")
        self.assertRegex(said, r"source +prose +kept +5040 documents, dropped +0")
        self.assertRegex(said, r"source +lists +kept +40 documents")


if __name__ == "__main__":
    unittest.main()
