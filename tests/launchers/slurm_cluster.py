"""A Slurm of one's own: munged, slurmctld and slurmd on this machine, in a folder, on free ports; gone when it is closed.

Needs root and Debian's packages munge, slurmctld, slurmd and slurm-client. The node is told to have more cores than the
machine: what is tested is how jobs start, stop and come back.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")

SLURM_CONF = """
ClusterName=private
SlurmctldHost=localhost
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
# The site's default is the unkind one: the scripts must not depend on it.
KillOnBadExit=1
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
NodeName=localhost CPUs=16 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing():
    """What this needs and the machine lacks, in words; "" when nothing."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        return f"there is no {', '.join(absent)}: apt-get install munge slurmctld slurmd slurm-client"
    return "" if os.geteuid() == 0 else "a private Slurm needs root"


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class SlurmCluster:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"),
                            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self._daemons = []
        for name in ("munge", "state", "spool"):
            (self.folder / name).mkdir(mode=0o700, parents=True)
        controller_port, node_port = free_ports(2)
        (self.folder / "slurm.conf").write_text(
            SLURM_CONF.format(folder=self.folder, controller_port=controller_port, node_port=node_port))
        key = self.folder / "munge/key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        try:
            munge = self.folder / "munge"
            self._start("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
                        f"--pid-file={munge}/pid", f"--seed-file={munge}/seed", f"--log-file={munge}/log")
            self._until(lambda: (munge / "socket").exists(), 30, "munged has no socket")
            self._start("slurmctld", "-D", "-c")
            self._start("slurmd", "-D", "-N", "localhost")
            self._until(lambda: self.run("sinfo", "--noheader", "--format=%T", check=False).strip() == "idle", 60,
                        "the node is not idle")
        except BaseException:
            self.close()
            raise

    def _start(self, *command):
        # Sessions of their own: a Ctrl-C at the tests is not for them. But they do not outlive killed tests.
        with open(self.folder / f"{command[0]}.out", "w") as out:
            self._daemons.append(subprocess.Popen(["setpriv", "--pdeathsig=KILL", *command], env=self.environment, stdin=subprocess.DEVNULL, stdout=out,
                                                  stderr=subprocess.STDOUT, start_new_session=True))

    def _until(self, condition, seconds, what, every=0.1):
        deadline = time.monotonic() + seconds
        while not condition():
            ended = [one.args[2] for one in self._daemons if one.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = "\n".join(f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}"
                                 for log in [*self.folder.glob("*.out"), *self.folder.glob("*.log")])
                raise AssertionError(f"{', '.join(ended) + ' ended' if ended else what}\n{logs}")
            time.sleep(every)

    def run(self, *command, check=True, **keywords):
        """Runs one of Slurm's programs and returns what it says."""
        done = subprocess.run(command, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=120, **keywords)
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def submit(self, *arguments, cwd, variables=None):
        """sbatch; returns the job's number."""
        exported = ",".join(["ALL", *(f"{name}={value}" for name, value in (variables or {}).items())])
        return self.run("sbatch", "--parsable", f"--export={exported}", *map(str, arguments), cwd=cwd).strip()

    def show(self, job):
        """The job's fields, e.g. JobState, Restarts, ExitCode ("3:0")."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job)))

    def state(self, job):
        return self.show(job)["JobState"]

    def wait(self, job, seconds):
        """Waits for the job's end, however often it is requeued before; returns its fields."""
        def over():
            found = self.show(job)
            if found["JobState"] == "PENDING" and found.get("Reason") == "BeginTime":
                # Slurm gives the nodes two minutes to clean up after a requeued job; here nobody else waits for them.
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
            return found["JobState"] in {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

        self._until(over, seconds, f"job {job} is not over", every=0.5)
        return self.show(job)

    def close(self):
        if len(self._daemons) == 3:
            self.run("scancel", "--state=RUNNING", "--full", "--signal=KILL", "--user=root", check=False)
            self.run("scancel", "--user=root", check=False)
        for daemon in reversed(self._daemons):  # slurmd, slurmctld, munged
            daemon.terminate()
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()
        self._daemons.clear()
