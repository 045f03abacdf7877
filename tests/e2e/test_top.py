"""conclave top: one frame of a run directory and of an endpoint, and a terminal that is given back as it was."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness import CONCLAVE, ConclaveTest
from test_monitors import free_port, read, until


class Screen:
    """A terminal that a program runs in."""

    def __init__(self, command, columns=80, rows=24, **environment):
        self.master, self.slave = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, **environment})
        self.seen = b""

    def resize(self, columns, rows):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """What the program wrote in so many seconds."""
        new, end = b"", time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                new += os.read(self.master, 1 << 16)
        self.seen += new
        return new

    def frames(self):
        """Each frame as lines without sequences."""
        texts = self.seen.decode().split("\x1b[H")[1:]
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n") for text in texts]

    def type(self, keys):
        os.write(self.master, keys)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


class Top(ConclaveTest):
    def top(self, *arguments, code=0):
        done = subprocess.run([CONCLAVE, "top", *map(str, arguments)], cwd=self.dir, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout

    def screen(self, *arguments, **keywords):
        screen = Screen([CONCLAVE, "top", *map(str, arguments)], **keywords)
        self.addCleanup(screen.close)
        return screen

    def test_one_frame_of_a_run_that_is_done(self):
        self.run_conclave("--run-dir", "run")
        for arguments in (("run", "--once"), ("run",)):  # there is no terminal
            said = self.top(*arguments)
            self.assertTrue(said.startswith("tiny  step 12 of 12, 1 rank\n"), said)
            self.assertIn(" 100.0 %, done\n", said)
            self.assertIn(", checkpoint at 12\n", said)
            self.assertRegex(said, r"\nloss          \d\.\d+")
            self.assertRegex(said, r"\nlayer 1       [12](\.\d+)? +[▁▂▃▄▅▆▇█ ]{1,4}\n")
            self.assertRegex(said, r"\nheld-out nll  lists \d\.\d+, prose \d\.\d+\n")
            self.assertNotIn("\x1b", said)
            lines = said.splitlines()
            self.assertLessEqual(len(lines), 24)
            self.assertLessEqual(max(map(len, lines)), 80)

    def test_a_run_that_goes_on_and_its_endpoint(self):
        port = free_port()
        process = self.start("--run-dir", self.dir / "run", "--quiet", "--set", "train.steps=1M", "--set", "evaluate.batches=0", "--set",
                             f"monitors=[{{use: monitor/jsonl}}, {{use: monitor/prometheus, with: {{listen: '127.0.0.1:{port}', experts: true}}}}]")
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        url = f"http://127.0.0.1:{port}/metrics"
        until(lambda: "training_loss" in read(url), 60, "a step")
        for where in ("run", url, f"http://127.0.0.1:{port}"):
            said = self.top(where, "--once")
            self.assertRegex(said, r"\Atiny  step \d[\d ]* of 1 000 000, 1 rank\n")
            self.assertRegex(said, r" 0\.\d %, .* left\n")
            self.assertIn("\nlayer 1 ", said)
        live = self.screen(url, "--every", "0.2")
        live.read(3)
        steps = [int(re.search(r"step ([\d ]+) of", frame[0])[1].replace(" ", "")) for frame in live.frames()]
        self.assertGreater(steps[-1], steps[0])
        process.kill()
        process.wait()
        live.read(2)
        self.assertIn(f"nothing comes from {url}: ", live.frames()[-1][-1])
        self.assertRegex(live.frames()[-1][0], r"\Atiny  step", "the last frame stays")
        live.type(b"q")
        self.assertEqual(live.process.wait(20), 0)

    def test_the_terminal_is_given_back(self):
        self.run_conclave("--run-dir", "run")
        for leave in (lambda s: s.type(b"q"), lambda s: s.type(b"\x03"), lambda s: s.process.send_signal(signal.SIGTERM),
                      lambda s: s.type(b"\x1a")):
            screen = self.screen(self.dir / "run", "--every", "0.1")
            screen.read(1)
            self.assertTrue(screen.seen.startswith(b"\x1b[?1049h\x1b[?25l"), screen.seen[:40])
            self.assertNotEqual(termios.tcgetattr(screen.slave)[3], screen.before[3])
            leave(screen)
            self.assertEqual(screen.process.wait(20), 0)
            screen.read(0.2)
            self.assertTrue(screen.seen.endswith(b"\x1b[?25h\x1b[?1049l"), screen.seen[-40:])
            self.assertEqual(termios.tcgetattr(screen.slave), screen.before)

    def test_it_fills_any_window(self):
        self.run_conclave("--run-dir", "run")
        screen = self.screen(self.dir / "run", "--every", "3600")
        for columns, rows in ((80, 24), (120, 50), (30, 6)):
            screen.resize(columns, rows)  # it draws at once, not in an hour
            screen.read(1)
            frame = screen.frames()[-1]
            self.assertLessEqual(len(frame), rows)
            self.assertGreaterEqual(len(frame), min(rows, 14))
            self.assertLessEqual(max(map(len, frame)), columns)
            self.assertGreaterEqual(max(map(len, frame)), columns - 1)

    def test_what_is_no_run(self):
        self.assertIn("metrics.jsonl", self.top("nowhere", code=5))
        self.assertIn("nothing comes from http://127.0.0.1:1/metrics: ", self.top("http://127.0.0.1:1/metrics", code=3))
        self.assertIn("is no address of a page", self.top("https://a/metrics", code=2))
