"""Make and prove the wheels: ``make wheels``, or ``python -m tools.wheels`` with the group package.

Leaves the sdist, the wheels and ``wheels.md``, a table of them, in ``dist``.  Rules kept here:

- every wheel is made before the first is proven, for pip has to choose among all;
- the wheel for everyone is proven on PyPy, and where there is none on this Python, from a folder
  that has no other;
- wheels are made two at a time, since Cython translates on one processor; what is proven has the
  machine to itself;
- however it ends, only ``dist`` is left; the status is 1 if a wheel was not made, or failed.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import sys
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.support.building import the_only
from tools.wheels.interpreters import Interpreter, candidates, files, find
from tools.wheels.making import PURE, Failure, make_sdist, make_wheel
from tools.wheels.proving import Proof, Row, link_programs, prove

TABLE = "wheels.md"


def say(text: str) -> None:
    print(text, flush=True)


def make_all(interpreters: Sequence[Interpreter], sdist: Path, out: Path, scratch: Path) -> None:
    """Make a wheel for each of the *interpreters*, in *out*."""

    def make(interpreter: Interpreter) -> None:
        began = time.monotonic()
        place = Path(tempfile.mkdtemp(dir=scratch))
        wheel = make_wheel(interpreter, sdist, out, place)
        took = time.monotonic() - began
        say(f"  {interpreter.name}: {wheel.name}, {wheel.stat().st_size:,} bytes, {took:.0f} s")

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make, interpreters))


def make_empty(out: Path, beside: Path | None) -> None:
    """Make *out* an empty directory; raises Failure where it holds what was not made for it."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise Failure(f"{out} is no directory")
    if beside is not None and not beside.is_dir():
        raise Failure(f"there is no directory {beside}")
    if beside is not None and beside.resolve() == out.resolve():
        raise Failure(f"{out} is to be emptied: keep what is from elsewhere in another directory")
    made = re.compile(rf"fast_asynchat-.*(\.whl|\.tar\.gz)|{re.escape(TABLE)}")
    if others := [path.name for path in files(out) if not made.fullmatch(path.name)]:
        raise Failure(f"{out} is to be emptied, but holds {', '.join(others[:3])}: remove it first")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)


def unpack(sdist: Path, to: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(to, filter="data")
    return the_only("fast_asynchat-*", to)


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, which reads as it is."""
    cells = [row.cells() for row in rows]
    lines = [list(cells[0]), *(list(row.values()) for row in cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [map(str.ljust, line, widths) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in padded)


def plan(
    interpreters: Sequence[Interpreter], wheels: Path, scratch: Path
) -> list[tuple[Row, Path]]:
    """What is to be proven, each with the folder that pip chooses from."""
    rows = [(Row(each, each.tag if each.is_cpython else PURE), wheels) for each in interpreters]
    if all(each.is_cpython for each in interpreters):
        alone = scratch / "alone"
        alone.mkdir()
        shutil.copy2(the_only(f"*-{PURE}.whl", wheels), alone)
        rows.append((Row(interpreters[0], PURE), alone))
    return rows


def work(out: Path, scratch: Path, done: Sequence[str], beside: Path | None) -> list[Row]:
    """Make all in *out*, and prove it, with the wheels of *beside* for pip to choose among, too.

    The suites of the versions in *done* are left out.
    """
    began = time.monotonic()
    interpreters = []
    for each in find(candidates()):
        say(f"Python {each.name}: {each.version}, {each.path}")
        if each.can_build:
            interpreters.append(each)
        else:
            say("  passed over: its headers are missing; on Debian they are in python3-dev")
    if not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang")):
        raise Failure("there is no C compiler; on Debian and Ubuntu it is in gcc")
    if not any(each.is_cpython for each in interpreters):
        raise Failure("no CPython here can build extensions; install one, with its headers")
    say("making the sdist")
    sdist = make_sdist(out)
    say(f"making wheels from {sdist.name}")
    wheels = scratch / "wheels"
    wheels.mkdir()
    # The same wheel for all that have none of their own: made once, by the first Python.
    pure = replace(interpreters[0], name="all others", tag="py3-none")
    make_all([*(each for each in interpreters if each.is_cpython), pure], sdist, wheels, scratch)
    shutil.copytree(wheels, out, dirs_exist_ok=True)
    if beside is not None:
        for wheel in beside.glob("*.whl"):
            if not (wheels / wheel.name).exists():
                shutil.copy2(wheel, wheels)
    programs = scratch / "programs"
    link_programs(programs)
    unpacked = unpack(sdist, scratch / "unpacked")
    rows = []
    for number, (row, index) in enumerate(plan(interpreters, wheels, scratch)):
        say(f"proving the wheel for {row.expected} on Python {row.interpreter.name}")
        place = scratch / f"proof-{number}"
        place.mkdir()
        proof = Proof(row, index=index, unpacked=unpacked, programs=programs, scratch=place)
        prove(proof, with_suite=row.interpreter.name not in done)
        shutil.rmtree(place)
        rows.append(row)
    say(f"{time.monotonic() - began:.0f} s")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.wheels", description="make and prove the wheels")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="default: dist; is emptied")
    parser.add_argument(
        "--suite-done",
        action="append",
        default=[],
        metavar="VERSION",
        help="a Python, as 3.11, on which the suite has been run and is left out",
    )
    parser.add_argument(
        "--beside", type=Path, help="a folder of other wheels, made elsewhere, to be passed over"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out.absolute()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as what it says above wants
    if not sysconfig.get_platform().startswith("linux-"):
        parser.error("this is for Linux; elsewhere cibuildwheel makes the wheels")
    try:
        make_empty(out, arguments.beside)
        with tempfile.TemporaryDirectory(prefix="fastchat-wheels-") as scratch:
            rows = work(out, Path(scratch), arguments.suite_done, arguments.beside)
    except Failure as failure:
        print(f"\nTHE WHEELS WERE NOT MADE\n{failure}", file=sys.stderr)
        return 1
    (out / TABLE).write_text(table(rows))
    say("\n" + table(rows))
    for row in rows:
        say(f"wheels: {row.interpreter.name}, {row.tag}: {row.verdict}")
    return 1 if any(row.faults for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
