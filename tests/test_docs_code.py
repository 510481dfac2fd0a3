"""What the documents say is so: their code runs.

A code block is either run or checked in a way of its own; one for which there is neither is a
failure, so that no example can stand there untried.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.building import ROOT
from tests.support.documents import DOCUMENTS, Block, project, read, split


def code_of(text: str) -> list[Block]:
    """The code blocks of a document that may have no code in another form."""
    blocks, prose = split(text)
    above = ""
    for number, line in enumerate(prose.splitlines(), 1):
        hidden = line.startswith("~~~") or (line.startswith("    ") and not above.strip())
        assert not hidden, f"line {number}: code that is not between ``` and ```: {line!r}"
        above = line
    return blocks


# Whose programs test_docs_moving.py runs, with a peer.
ELSEWHERE = ("docs/moving.md",)


class Playground:
    """A directory in which the blocks of one document are run, in their order.

    A Python block that begins with a comment ``# name.py`` is written to that file, and a later
    command has to run it.  Any other is run, and has to print what comments behind its prints say,
    or what the ``text`` block after it shows.

    A ``sh`` block is run by bash and has to succeed, or to say that it is listening; then it stays
    until the end of the document.  Commands that cannot be run here are in ``CHECKED``.
    """

    # The longest that a program may run, in seconds; they take a fraction of one.
    patience = 60.0

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.unused: set[str] = set()
        self.ports: dict[str, str] = {}
        self.servers: list[subprocess.Popen[bytes]] = []
        shutil.copytree(ROOT / "examples", directory / "examples")
        # `python` may be missing on the path, or be another one.
        tools = directory / ".bin"
        tools.mkdir()
        (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (tools / "python").chmod(0o755)
        path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
        self.environment = os.environ | {"PATH": path, "LC_ALL": "C"}

    def run(self, blocks: list[Block]) -> None:
        """Run all blocks; raises AssertionError where one does not do what the document says."""
        shown = set()
        for block, after in pairwise([*blocks, Block(0, "", "")]):
            expected = after.code if after.language == "text" else None
            try:
                if block.language == "python":
                    checks_text = self.run_python(block, expected)
                elif block.language == "sh":
                    checks_text = self.run_shell(block, expected)
                elif block.language == "diagram":
                    continue  # a test of its own looks its names up
                else:
                    assert block.language == "text", f"no way to check {block.language!r}"
                    assert block in shown, "nothing before it prints this"
                    continue
            except (AssertionError, SyntaxError) as failure:
                raise AssertionError(f"the block of line {block.line}: {failure}") from failure
            if checks_text:
                shown.add(after)
        assert not self.unused, f"no command runs {', '.join(sorted(self.unused))}"

    def run_python(self, block: Block, expected: str | None) -> bool:
        """Run or write a block; returns whether *expected* was compared with what it prints."""
        code = self.with_free_ports(block.code)
        named = re.match(r"# ([a-z_]+\.py)\n", code)
        if named:
            compile(code, named[1], "exec")
            (self.directory / named[1]).write_text(code)
            self.unused.add(named[1])
            return False
        program = self.directory / f"block_{block.line}.py"
        program.write_text(code)
        done = subprocess.run(
            [sys.executable, "-W", "error", program],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=self.patience,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        if expected is not None:
            assert done.stdout == expected
            return True
        said = re.findall(r"^ *print\(.*\)  # (.+)$", block.code, re.MULTILINE)
        printed = done.stdout.splitlines()
        assert len(printed) == len(said), f"it prints {printed}, and the comments say {said}"
        for line, comment in zip(printed, said, strict=True):
            assert line in comment.split(" or "), f"it prints {line!r}, not {comment!r}"
        return False

    def run_shell(self, block: Block, expected: str | None) -> bool:
        """Run or check a block; returns whether *expected* was compared with what it prints."""
        left = [line for line in block.code.splitlines() if line and not is_checked(line)]
        if not left:
            return False
        command = self.with_free_ports("\n".join(left))
        # A module is named without its end, and what is in it behind a colon.
        named = {name for name in self.unused if name in command or f" {name[:-3]}:" in command}
        self.unused -= named
        output = self.directory / f"block_{block.line}.out"
        errors = self.directory / f"block_{block.line}.err"
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                ["bash", "-e", "-c", command],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.servers.append(process)
        end = time.monotonic() + self.patience
        while process.poll() is None and not output.read_bytes().startswith(b"listening on "):
            assert time.monotonic() < end, f"after {self.patience} s: {output.read_text()!r}"
            time.sleep(0.01)
        assert not process.returncode, errors.read_text()
        if expected is None:
            return False
        assert output.read_text() == expected
        return True

    def with_free_ports(self, code: str) -> str:
        """*code* with every port of the documents, 8000 to 8099, replaced by a free one."""
        return re.sub(r"\b80\d\d\b", lambda port: self.free_port_for(port[0]), code)

    def free_port_for(self, port: str) -> str:
        if port not in self.ports:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.ports[port] = str(free.getsockname()[1])
        return self.ports[port]

    def close(self) -> None:
        for server in self.servers:
            try:
                os.killpg(server.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            server.wait()


@contextmanager
def playground(directory: Path) -> Iterator[Playground]:
    place = Playground(directory)
    try:
        yield place
    finally:
        place.close()


# Commands that are looked at and not run: make would run this very suite, and pip would need the
# network, or would replace what is being tested.


def check_make(targets: str) -> None:
    makefile = read("Makefile")
    for word in targets.split():
        name, assigned, _ = word.partition("=")
        wanted = rf"^{re.escape(name)} \?=" if assigned else rf"^{re.escape(name)}:.*## "
        assert re.search(wanted, makefile, re.MULTILINE), f"the Makefile has no {name}"


def check_install(setting: str | None, what: str) -> None:
    assert what in (".", project()["name"]), f"pip is to install {what!r}"
    if setting:
        assert f'"{setting}"' in read("setup.py"), f"setup.py does not know {setting!r}"


CHECKED: dict[str, Callable[..., None]] = {
    r"make ([a-z][\w =./-]*)": check_make,
    r"(?:FASTCHAT_BUILD_EXTENSION=(\w+) )?python -m pip install (\S+)": check_install,
}


def is_checked(line: str) -> bool:
    """Whether a command is one of ``CHECKED``; raises AssertionError where that finds a fault."""
    for pattern, check in CHECKED.items():
        command = re.fullmatch(pattern, line)
        if command:
            check(*command.groups())
            return True
    return False


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a Unix shell")
@pytest.mark.parametrize("name", [each for each in DOCUMENTS if each not in ELSEWHERE])
def test_code(name: str, tmp_path: Path) -> None:
    with playground(tmp_path) as place:
        place.run(code_of(read(name)))


def test_readme_shows_code() -> None:
    # What test_code would not miss: the blocks, should they be written in a way it cannot see.
    languages = [block.language for block in code_of(read("README.md"))]
    assert languages.count("python") >= 2
    assert languages.count("sh") >= 2


# A document, and what is to be said about it.
FAULTS = {
    "unknown language": ("```json\n{}\n```\n", "no way to check 'json'"),
    "no language": ("```\nx\n```\n", "no way to check ''"),
    "python fails": ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    "python warns": ("```python\nimport warnings\nwarnings.warn('x')\n```\n", "UserWarning: x"),
    "unexplained output": ("```python\nprint(1)\n```\n", r"it prints \['1'\], and"),
    "wrong comment": ("```python\nprint(1)  # 2\n```\n", "it prints '1', not '2'"),
    "no output": ("```python\nif 0:\n    print(1)  # 1\n```\n", r"it prints \[\], and"),
    "wrong output": ("```python\nprint(1)\n```\n\n```text\n2\n```\n", r"'1\\n' == '2\\n'"),
    "text of nobody": ("```text\n2\n```\n", "nothing before it prints this"),
    "text of make": ("```sh\nmake test\n```\n```text\n2\n```\n", "nothing before it prints this"),
    "file not run": ("```python\n# x.py\n```\n", "no command runs x.py"),
    "file not Python": ("```python\n# x.py\n(\n```\n", "never closed"),
    "command fails": ("```sh\nls nothing\ntrue\n```\n", "No such file"),
    "command prints other": ("```sh\necho 1\n```\n```text\n2\n```\n", r"'1\\n' == '2\\n'"),
    "command hangs": ("```sh\nsleep 60\n```\n", "after 0.5 s"),
    "server does not start": ("```sh\npython nothing.py\n```\n", "can't open file"),
    "no such target": ("```sh\nmake nothing\n```\n", "the Makefile has no nothing"),
    "no such variable": ("```sh\nmake test NOTHING=1\n```\n", "the Makefile has no NOTHING"),
    "another project": ("```sh\npython -m pip install fastchat\n```\n", "to install 'fastchat'"),
    "no such setting": (
        "```sh\nFASTCHAT_BUILD_EXTENSION=maybe python -m pip install .\n```\n",
        "setup.py does not know 'maybe'",
    ),
    "no end": ("```python\n", "line 1 does not end"),
    "fence in a fence": ("```python\n```python\n```\n", "inside the one of line 1"),
    "indented": ("So:\n\n    print(1)\n", "line 3: code that is not"),
    "another fence": ("~~~\nprint(1)\n~~~\n", "line 1: code that is not"),
}


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a Unix shell")
@pytest.mark.parametrize(("text", "said"), FAULTS.values(), ids=FAULTS)
def test_faulty_code_is_noticed(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said.startswith("after"):
        monkeypatch.setattr(Playground, "patience", 0.5)
    with playground(tmp_path) as place, pytest.raises(AssertionError, match=said):
        place.run(code_of(text))
