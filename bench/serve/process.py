"""Processes that are measured, and those that measure: pinned, bounded, and never left behind.

Rules this file keeps:

* The server has one CPU and the load another; whoever waits for them sleeps.
* A child cannot outlive its parent, however that ends; a signal to the terminal's processes
  reaches the parent only, which then ends the children.
* What a server prints, apart from where it listens, is a failure.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType

from bench import compiled

ROOT = Path(__file__).resolve().parent.parent.parent

# Seconds in which a server must have said where it listens, and in which an idle one sleeps.
START = 20
REST = 0.01


class Failure(Exception):
    """A server broke its protocol, or ended, or never began: no figure of this run counts."""


class Unfinished(Exception):
    """A server was too slow, or this machine too small: there is a reason instead of a figure."""


class Waited(Exception):
    """Something else had the server's CPU, however often it was tried: *share* of the time, of 1,
    where it was least."""

    def __init__(self, share: float) -> None:
        super().__init__(f"the server waited for its CPU for {share:.0%} of the time")
        self.share = share


def choose_cpus() -> tuple[int, int]:
    """A CPU for the server and one for the load, on different cores where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    siblings = _siblings(server)
    others = [cpu for cpu in allowed if cpu not in siblings] or allowed
    return server, others[0]


def _siblings(cpu: int) -> set[int]:
    """The CPUs that share a core with *cpu*, itself included."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        ranges = topology.read_text(encoding="ascii").strip().split(",")
    except OSError:
        return {cpu}
    found = set()
    for each in ranges:
        first, _, last = each.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def allow_descriptors() -> int:
    """Raise the limit of open descriptors as far as it goes; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**31


def pinned(command: Sequence[str | Path], cpu: int) -> list[str]:
    """*command*, to run on *cpu* and to end with this process.  Raises NoCompiler."""
    return [str(word) for word in (_launcher(), cpu, *command)]


@cache
def _launcher() -> Path:
    return compiled.build(Path(__file__).resolve().parent / "pinned.c")


def run(command: Sequence[str | Path], cpu: int, seconds: float) -> tuple[int, str, str]:
    """Run *command* to its end on *cpu*: its exit status, what it printed, and its complaints.

    Raises Unfinished where it takes longer than *seconds*.
    """
    with subprocess.Popen(
        pinned(command, cpu),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Unfinished(f"not done after {seconds:.0f} s") from None
        finally:
            process.kill()
        return process.returncode, output, errors


def cpu_time(pid: int) -> float:
    """The user and system time of a process, in seconds.  Raises Failure where it has ended."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise Failure("the server has ended")
    return time.clock_gettime(clock.value)


class Server:
    """A server process, from when it listens to the end of the ``with`` block.

    Raises Failure where it does not listen, and at the end where it has printed something or has
    ended by itself.
    """

    def __init__(
        self, command: Sequence[str | Path], cpu: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            pinned(command, cpu),
            cwd=ROOT,
            env=os.environ | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.pid = self.process.pid

    def __enter__(self) -> Server:
        try:
            self.port = self._read_port()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self.process.poll()
        said = self._end()
        if failure is not None and not isinstance(failure, Failure):
            return  # what it says about clients that are gone is no fault of its own
        if said or ended is not None:
            fate = "" if ended is None else f"it ended with status {ended}"
            raise Failure("\n".join(filter(None, [str(failure or ""), fate, said]))) from failure

    def cpu_time(self) -> float:
        """The user and system time that the process, which should be idle, has used, in seconds."""
        # The kernel brings the clock up to date when the process stops running.
        time.sleep(REST)
        return cpu_time(self.pid)

    def waiting(self) -> float:
        """How long the process was ready to run while something else had its CPU, in seconds; 0
        where the kernel does not say."""
        try:
            counted = Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()
        except FileNotFoundError:
            return 0.0
        return int(counted[1]) / 1e9 if len(counted) > 1 else 0.0

    def _read_port(self) -> int:
        line = b""
        end = time.monotonic() + START
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.output], [], [], max(0, end - time.monotonic()))
            piece = os.read(self.output.fileno(), 1) if ready else b""
            if not piece:
                break
            line += piece
        said, _, port = line.strip().rpartition(b":")
        if not said.startswith(b"listening on "):
            try:
                self.process.wait(timeout=1)  # let it say why
            except subprocess.TimeoutExpired:
                pass
            raise Failure(f"the server does not listen: {line.decode()}{self._end()}")
        return int(port)

    def _end(self) -> str:
        """Kill the process; returns what it has printed and nobody has read."""
        if self.output.closed:
            return ""
        self.process.kill()
        said, _ = self.process.communicate()
        return said.decode(errors="replace").strip()
