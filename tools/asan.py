"""Run the compiled scanner under AddressSanitizer and UndefinedBehaviorSanitizer.

``make asan`` shows that it reads no byte outside its buffers.  It builds the extension in a
temporary directory and searches every small input.  A bytes object has a header before its data
and a zero byte behind it, which AddressSanitizer would let anybody read; so the bytes around each
buffer are poisoned by hand, and one read outside ends the process with a report.

``make test-asan`` runs ``tools/asan.py --pytest ARGUMENTS`` in an environment that has the
extension built with both sanitizers.  All processes that the tests start are looked at too.  One
report of AddressSanitizer fails the run, even where a test expects its process to fail.
UndefinedBehaviorSanitizer, whose log the other library takes over, aborts the process.

Exit status 0: nothing was found; 1: something was, or a read that was made on purpose was not
noticed; 2: this machine has no AddressSanitizer for its compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# Where the data of a bytes object begins, and the smallest piece of memory that can be poisoned.
HEADER = sys.getsizeof(b"") - 1
GRANULE = 8


def main() -> int:
    parser = argparse.ArgumentParser(description="run the scanner under AddressSanitizer")
    parser.add_argument("--check", choices=("search", "before", "behind"), help=argparse.SUPPRESS)
    parser.add_argument("--pytest", nargs=argparse.REMAINDER, help="run the suite; its arguments")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
        return 0
    runtime = find_runtime()
    if runtime is None:
        print("asan: the C compiler has no AddressSanitizer (Debian's gcc brings it along)")
        return 2
    if arguments.pytest is not None:
        return run_suite(runtime, arguments.pytest)
    with tempfile.TemporaryDirectory(prefix="fastchat-asan-") as directory:
        build(Path(directory))
        for outside in ("before", "behind"):
            noticed = run(Path(directory), runtime, outside)
            if noticed.returncode == 0 or "ERROR: AddressSanitizer" not in noticed.stderr:
                print(f"asan: a read {outside} a buffer, made on purpose, was NOT noticed")
                print(noticed.stderr)
                return 1
        searched = run(Path(directory), runtime, "search")
        print(searched.stdout, end="")
        print(searched.stderr, end="", file=sys.stderr)
        return min(searched.returncode, 1)


def find_runtime() -> str | None:
    """The path of the AddressSanitizer library of the C compiler."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    answer = subprocess.run(
        [compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=False
    )
    path = answer.stdout.strip()
    return path if os.path.isabs(path) else None


def build(directory: Path) -> None:
    """Put a package with the instrumented extension into *directory*."""
    environment = dict(os.environ, FASTCHAT_BUILD_EXTENSION="yes")
    environment["FASTCHAT_SANITIZE"] = "address,undefined"
    command = [sys.executable, "setup.py", "-q", "build"]
    command += ["--build-base", str(directory / "build"), "--build-lib", str(directory)]
    command += ["egg_info", "--egg-base", str(directory)]
    answer = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        print(answer.stdout, answer.stderr, sep="\n", file=sys.stderr)
        sys.exit("asan: the extension could not be built")


def sanitized(runtime: str, asan_options: str = "") -> dict[str, str]:
    """The environment of a process that has the AddressSanitizer library loaded."""
    return dict(
        os.environ,
        LD_PRELOAD=runtime,
        # The interpreter keeps memory until it ends; that is not what is looked for.
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1" + asan_options,
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:abort_on_error=1",
        # Each object gets its own piece of the sanitizer's memory, not of Python's pools.
        PYTHONMALLOC="malloc",
    )


def run(directory: Path, runtime: str, what: str) -> subprocess.CompletedProcess[str]:
    """Run ``check(what)`` under the sanitizers."""
    environment = sanitized(runtime)
    environment.update(PYTHONPATH=str(directory), FASTCHAT_IMPLEMENTATION="cython")
    return subprocess.run(
        [sys.executable, __file__, "--check", what],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_suite(runtime: str, arguments: list[str]) -> int:
    """Run pytest under the sanitizers; print all that they reported, in whatever process."""
    # Without the library loaded, the extension can be found and not imported.
    package = importlib.util.find_spec("fastchat")
    places = package.submodule_search_locations if package else None
    built = [path for place in places or () for path in Path(place).glob("_scanner.*.so")]
    names = (b"__asan_report_load8", b"__ubsan_handle_")
    if not built or not all(name in path.read_bytes() for path in built for name in names):
        print("asan: the installed extension was not built with the sanitizers")
        return 1
    with tempfile.TemporaryDirectory(prefix="fastchat-asan-") as directory:
        log = Path(directory, "log")
        log.mkdir()
        environment = sanitized(runtime, f":log_path={log}/report")
        environment["PATH"] = os.pathsep.join([str(unloaded(directory)), environment["PATH"]])
        answer = subprocess.run(
            # What is written past Python's back shows at once, even if it is the last.
            [sys.executable, "-m", "pytest", "--capture=sys", *arguments],
            env=environment,
            check=False,
        )
        reports = sorted(log.iterdir())
        for report in reports:
            print(f"\nasan: {report.name}", report.read_text(errors="replace"), sep="\n")
        print(f"asan: {len(reports)} reports")
    return 1 if reports or answer.returncode else 0


def unloaded(directory: str) -> Path:
    """A directory, in *directory*, of the programs that hang where the library is loaded."""
    programs = Path(directory, "programs")
    programs.mkdir()
    if curl := shutil.which("curl"):
        program = programs / "curl"
        program.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {shlex.quote(curl)} "$@"\n')
        program.chmod(0o755)
    return programs


class Fence:
    """Bytes whose surroundings are poisoned while the fence stands."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        sanitizer = ctypes.CDLL(None)
        # By getattr: inside a class Python changes names that begin with two underscores.
        self._poison = getattr(sanitizer, "__asan_poison_memory_region")
        self._unpoison = getattr(sanitizer, "__asan_unpoison_memory_region")
        start = id(data) + HEADER
        # Before the data stands the hash, which no C code of ours looks at; behind it the zero.
        self._regions = [(start - GRANULE, GRANULE), (start + len(data), GRANULE)]

    def __enter__(self) -> bytes:
        for address, size in self._regions:
            self._poison(ctypes.c_void_p(address), ctypes.c_size_t(size))
        return self.data

    def __exit__(self, *exception: object) -> None:
        # The zero byte belongs to the object; behind it the sanitizer's own fence stays.
        (before, size), (behind, _) = self._regions
        self._unpoison(ctypes.c_void_p(before), ctypes.c_size_t(size))
        self._unpoison(ctypes.c_void_p(behind), ctypes.c_size_t(1))


def check(what: str) -> None:
    """Search every small input inside fences, or read one byte outside of one on purpose."""
    from fastchat import _scanner  # noqa: PLC0415 (only where the instrumented one is installed)

    assert "fastchat-asan-" in _scanner.__file__, _scanner.__file__
    if what != "search":
        with Fence(bytes(bytearray(b"abc"))) as data:
            first = id(data) + HEADER - (what == "before")
            ctypes.CDLL(None).memchr(ctypes.c_void_p(first), 0, ctypes.c_size_t(4))
        return
    print(f"{search(_scanner)} searches, no read outside a buffer")


def search(scanner: Any) -> int:
    """Search every small input for every small terminator; returns how many searches that was."""
    haystacks = [bytes(letters) for size in range(7) for letters in product(b"ab", repeat=size)]
    haystacks += [b"a" * size + b"b" for size in (16, 17, 40, 100)]  # the search that is steady
    haystacks += [b"\r" * size + b"\n" for size in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 300)]
    needles = [bytes(letters) for size in (1, 2, 3, 4) for letters in product(b"ab", repeat=size)]
    needles += [b"\r\n", b"\r" * 70 + b"\n"]
    count = 0
    for haystack in haystacks:
        # A copy that no other variable shares: short bytes are shared by the interpreter.
        if len(haystack) < 2:
            continue
        with Fence(bytes(bytearray(haystack))) as data:
            for needle in needles:
                for start in range(min(len(data), 8) + 1):
                    scanner.find_terminator(data, needle, start)
                    scanner.find_terminators(data, needle, start)
                    scanner.find_first_terminator(data, (needle, b"zz"), start)
                    scanner.lines_of(data, start, needle, start)
                    scanner.held_back(data, start, (needle, b"zz"))
                    scanner.cut_lines(data, start, needle, start, 9, True, [])
                    scanner.cut_lines_of_several(data, start, (needle, b"zz"), 2, 9, False, [])
                    scanner.find_line_end(data, start, start + 3, (needle, b"zz"))
                    scanner.join_begun(data, data, start, start + 3)
                    count += 9
                scanner.only_line(data, needle)
                scanner.find_prefix_at_end(data, needle)
                count += 1
            deliver(data)
    for needle in needles:
        if len(needle) > 1:
            with Fence(bytes(bytearray(needle))) as fenced:
                for haystack in haystacks:
                    scanner.find_terminator(haystack, fenced)
                    scanner.find_prefix_at_end(haystack, fenced)
                    count += 2
    return count


def deliver(data: bytes) -> None:
    """Cut *data* the way a channel does, at terminators of all kinds."""
    # Only where the instrumented one is installed.
    from fastchat import asynchat  # noqa: PLC0415
    from fastchat._core.incoming import drive  # noqa: PLC0415

    class Channel(asynchat.async_chat):
        terminator: Any = None

        def get_terminator(self) -> Any:
            return self.terminator

        def collect_incoming_data(self, piece: bytes) -> None:
            pass

        def found_terminator(self) -> None:
            pass

    for terminator in (b"a", b"ab", b"ba" * 40, (b"ab", b"b"), 3, None):
        channel: Any = Channel(map={})
        channel.terminator = terminator
        channel.ac_in_buffer = data
        drive(channel)


if __name__ == "__main__":
    sys.exit(main())
