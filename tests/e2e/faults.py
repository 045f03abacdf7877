"""What the fault drills start and break: ranks one by one, wires between them, a disk that has no room for one of them.

Wires and disks need root and what Debian's iproute2 and e2fsprogs bring; where they cannot be had, SkipTest says why.
"""

import os
import socket
import subprocess
import threading
import time
import unittest


def sure(*command):
    """Runs a command of the system; one that does not work means that this machine cannot do the drill."""
    try:
        done = subprocess.run([str(part) for part in command], text=True, capture_output=True)
    except OSError as missing:
        raise unittest.SkipTest(f"cannot run {command[0]} here: {missing}")
    if done.returncode != 0:
        raise unittest.SkipTest(f"'{' '.join(map(str, command))}' is not allowed here: {done.stderr.strip()}")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Ranks:
    """Ranks as torchrun without an agent starts them; what each says goes to a file of its own."""

    def __init__(self, command, folder, environment, size, network=None):
        self.command, self.folder, self.size, self.network = command, folder, size, network
        self.environment = {**environment, "WORLD_SIZE": str(size), "TORCHELASTIC_RUN_ID": "drill",
                            "TORCHELASTIC_USE_AGENT_STORE": "False", "OMP_NUM_THREADS": "1",
                            "MASTER_ADDR": network.address(0) if network else "127.0.0.1",
                            "MASTER_PORT": str(29500 if network else free_port())}
        self.processes = {}

    def start(self, rank, *prefix):
        """`prefix`: a program that starts the rank in its stead."""
        one_machine = self.network is None
        own = {"RANK": rank, "LOCAL_RANK": rank if one_machine else 0,
               "LOCAL_WORLD_SIZE": self.size if one_machine else 1}
        prefix = (*(self.network.inside(rank) if self.network else ()), *prefix)
        with open(self.said_file(rank), "w") as said:
            self.processes[rank] = subprocess.Popen(
                [*prefix, *self.command], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=said,
                env={**self.environment, **{name: str(value) for name, value in own.items()}})

    def said_file(self, rank):
        return self.folder / f"said.{rank}"

    def said(self, rank):
        return self.said_file(rank).read_text()

    def all_said(self):
        return "".join(f"\n-- rank {rank}: {self.said(rank)}" for rank in sorted(self.processes))

    def poll(self):
        """The first exit code that there is."""
        codes = (process.poll() for process in self.processes.values())
        return next((code for code in codes if code is not None), None)

    def wait(self, deadline):
        """The exit code of each rank; TimeoutExpired when one is there after the deadline, of time.monotonic()."""
        return {rank: process.wait(timeout=max(0.1, deadline - time.monotonic()))
                for rank, process in sorted(self.processes.items())}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()


class Network:
    """A network namespace for each rank, each on a wire to a switch."""

    def __init__(self, size):
        self.name = f"conclave-{os.getpid()}"
        self.size = size

    def __enter__(self):
        try:
            self.ip("netns", "add", f"{self.name}-switch")
            self.switch("link", "add", "name", "bridge", "type", "bridge")
            self.switch("link", "set", "bridge", "up")
            for rank in range(self.size):
                self.ip("netns", "add", self.space(rank))
                self.switch("link", "add", f"port{rank}", "type", "veth",
                            "peer", "name", "wire", "netns", self.space(rank))
                self.switch("link", "set", f"port{rank}", "master", "bridge", "up")
                self.rank(rank, "addr", "add", f"{self.address(rank)}/24", "dev", "wire")
                self.rank(rank, "link", "set", "wire", "up")
                self.rank(rank, "link", "set", "lo", "up")
        except unittest.SkipTest:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for space in (*map(self.space, range(self.size)), f"{self.name}-switch"):
            subprocess.run(["ip", "netns", "delete", space], stderr=subprocess.DEVNULL)

    def ip(self, *arguments):
        sure("ip", *arguments)

    def switch(self, *arguments):
        self.ip("-n", f"{self.name}-switch", *arguments)

    def rank(self, rank, *arguments):
        self.ip("-n", self.space(rank), *arguments)

    def space(self, rank):
        return f"{self.name}-{rank}"

    def address(self, rank):
        return f"10.83.0.{rank + 1}"

    def inside(self, rank):
        return ("ip", "netns", "exec", self.space(rank))

    def unplug(self, rank):
        """At the switch: the rank's own interface stays up, and nothing comes through."""
        self.switch("link", "set", f"port{rank}", "down")

    def take_down(self, rank):
        """At the rank: it has no way to anybody."""
        self.rank(rank, "link", "set", "wire", "down")


class Disk:
    """A disk that all ranks share, half of which only ranks of a group may fill: it can be full for one rank alone."""

    GROUP = "60083"
    MEMBER = ("setpriv", "--groups", GROUP)
    OUTSIDER = ("setpriv", "--clear-groups", "--bounding-set=-sys_resource")

    def __init__(self, folder):
        self.image, self.path, self.filler = folder / "disk.img", folder / "disk", folder / "disk/filler"
        self.filling, self.enough = None, threading.Event()

    def __enter__(self):
        sure("truncate", "-s", "64M", self.image)
        sure("mkfs.ext4", "-q", "-m", "50", self.image)
        self.path.mkdir()
        sure("mount", "-o", f"loop,resuid={self.GROUP},resgid={self.GROUP}", self.image, self.path)
        sure(*self.OUTSIDER, "true")
        return self

    def __exit__(self, *_):
        self.make_room()
        subprocess.run(["umount", "-l", str(self.path)])

    def fill(self):
        """Takes what outsiders may have, and what is given back, until make_room()."""
        def keep_full():
            while not self.enough.wait(0.02):
                subprocess.run([*self.OUTSIDER, "dd", "if=/dev/zero", f"of={self.filler}", "bs=1k", "oflag=append",
                                "conv=notrunc"], stderr=subprocess.DEVNULL)
        self.filling = threading.Thread(target=keep_full)
        self.filling.start()

    def make_room(self):
        self.enough.set()
        if self.filling:
            self.filling.join()
            self.filler.unlink(missing_ok=True)
