"""The server that is attacked: a process of its own, watched from outside.

Rules this file keeps:

* The server is the command line's, with its default limits but those that a scenario names, on the
  loopback, on a CPU of its own where there are two.
* It never outlives this process, and what it logs is shown only where it fails.
* Memory is the resident pages of the process's own, without those of files, which the kernel counts
  one by one for ``smaps_rollup``; what it keeps in ``status``, and ``VmHWM`` with it, may be wrong
  by some 100 KiB.  See proc_pid_smaps(5).  What waits in the kernel's own buffers is not in it.
  The clients look many times, between their sends.
* What a program has freed, glibc may keep, and how much depends on chance.  Where a limit is judged
  by memory, it is told by its environment to give all back at once: see mallopt(3).
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bench.hostile.clients import LOCAL, PATIENCE
from bench.serve.process import ROOT, START, Failure, choose_cpus, cpu_time, pinned

# What FASTCHAT_IMPLEMENTATION calls them.
IMPLEMENTATIONS = ("cython", "python")
_GIVING_BACK = {"MALLOC_TOP_PAD_": "0", "MALLOC_TRIM_THRESHOLD_": "4096"}
# How often is looked whether it has settled, for how long each time, and what that takes of a CPU.
_LOOKS, _REST, _LITTLE = 20, 0.1, 0.02


@dataclass(frozen=True)
class Launch:
    """How servers are started: on what *implementation*, with what other *options* and *channel*.

    A *rival*, of ``rivals.py``, takes the place of fastchat.
    """

    implementation: str
    options: Sequence[str] = ()
    channel: str = ""
    rival: str = ""

    def server(self, *options: str, channel: str = "", gives_back: bool = False) -> Server:
        """A server of *channel*, MODULE:CHANNEL, or of the command's echo, with *options*.

        With *gives_back* its memory is what it needs, without what the C library keeps.
        """
        module = [sys.executable, "-m"]
        environment = dict(_GIVING_BACK) if gives_back else {}
        if self.rival:
            return Server([*module, "bench.hostile.rivals", self.rival], environment, "")
        chosen = self.channel or channel
        command = ["serve", chosen] if chosen else ["echo"]
        if chosen:
            options = ("--delimiter", r"\n", *options)
        words = ["fastchat", *command, "--bind", f"{LOCAL}:0", *options, *self.options]
        environment["FASTCHAT_IMPLEMENTATION"] = self.implementation
        return Server([*module, *words], environment, self.implementation)


class Server:
    """A server process, from when it listens to the end of the ``with`` block.

    Raises Failure where it does not listen, or not on *implementation*.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], implementation: str
    ) -> None:
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 (closed by __exit__)
        self.implementation = implementation
        self.process = subprocess.Popen(
            pinned(command, choose_cpus()[0]),
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.said,
            process_group=0,
        )
        self.pid = self.process.pid
        self.before = self.grown = self.looks = 0

    def __enter__(self) -> Server:
        try:
            self.port = self._read_port()
        except BaseException as failure:
            self.__exit__(type(failure), failure)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        failure: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.process.kill()
        self.process.communicate()
        said = self._errors()
        self.said.close()
        if isinstance(failure, Failure):
            raise Failure(f"{failure}\n{said}".strip()) from failure

    def settle(self) -> None:
        """Wait until it has done all that there is to do, or a little while."""
        for _ in range(_LOOKS):
            if self.cpu_share(_REST) < _LITTLE:
                break

    def begin(self) -> None:
        """Wait until it has settled: memory is compared with what it has then."""
        self.settle()
        self.before = self._resident()
        self.grown = self.looks = 0

    def look(self) -> int:
        """See by how many bytes its memory has grown; ``grown`` is the most so far."""
        self.looks += 1
        self.grown = max(self.grown, self._resident() - self.before)
        return self.grown

    def cpu_time(self) -> float:
        """The user and system time that it has used, in seconds."""
        return cpu_time(self.pid)

    def cpu_share(self, over: float) -> float:
        """The share of a CPU that it takes, watched for so many seconds."""
        begun, worked = time.monotonic(), self.cpu_time()
        time.sleep(over)
        worked = self.cpu_time() - worked
        return worked / (time.monotonic() - begun)

    def descriptors(self) -> int:
        """How many descriptors it has open."""
        return len(self._descriptors())

    def leave_descriptors(self, count: int) -> None:
        """Let it open so many descriptors more, and no others."""
        used = self._descriptors()
        free = (fd for fd in itertools.count() if fd not in used)
        most = next(itertools.islice(free, count, None))
        hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, hard))

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def status(self) -> int:
        """Its exit status, when it has ended.  Raises Failure where it does not end."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure("the server does not end") from None

    def _descriptors(self) -> set[int]:
        return set(map(int, os.listdir(f"/proc/{self.pid}/fd")))

    def _resident(self) -> int:
        try:
            text = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            text = ""
        found = re.search(r"^Anonymous:\s+(\d+) kB$", text, re.MULTILINE)
        if found is None:  # of a process that has ended the kernel says nothing
            raise Failure("the server has ended")
        return int(found[1]) * 1024

    def _read_port(self) -> int:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START)
        line = self.process.stdout.readline().decode() if ready else ""
        found = re.match(rf"listening on {LOCAL}:(\d+)", line)
        if found is None:
            raise Failure(f"the server does not listen: {line}")
        if self.implementation and f"({self.implementation})" not in line:
            raise Failure(f"the server is not on {self.implementation}: {line}")
        return int(found[1])

    def _errors(self) -> str:
        self.said.seek(0)
        return self.said.read().decode(errors="replace").strip()
