"""What the documents say is so: their code runs, their links lead somewhere, their names exist.

A code block is either run or checked in a way of its own; one for which there is neither is a
failure, so that no example can stand there untried.
"""

from __future__ import annotations

import ast
import errno
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import fastchat
from bench.results import Results
from bench.tables import median
from tests.support.building import ROOT
from tests.support.implementations import Implementation

DOCUMENTS = ["README.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
# Somebody may read these on a page, so their links and names count as well.
PAGES = [*DOCUMENTS, "CONTRIBUTING.md"]
DIFFERENCES = sorted(f"tests/{p.name}" for p in ROOT.glob("tests/test_differences_*.py"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    table: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return table


class Block(NamedTuple):
    """A fenced block of code: the line it begins in, its language, and what stands in it."""

    line: int
    language: str
    code: str


def split(text: str) -> tuple[list[Block], str]:
    """The code blocks of a document, and the document without them, line for line."""
    blocks = []
    prose = []
    fence: Block | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if fence is None:
                fence = Block(number, line[3:].strip(), "")
            else:
                assert line == "```", f"line {number}: a block inside the one of line {fence.line}"
                blocks.append(fence)
                fence = None
            line = ""
        elif fence is not None:
            fence = fence._replace(code=f"{fence.code}{line}\n")
            line = ""
        prose.append(line)
    assert fence is None, f"the block of line {fence.line} does not end"
    return blocks, "\n".join(prose)


def code_of(text: str) -> list[Block]:
    """The code blocks of a document that may have no code in another form."""
    blocks, prose = split(text)
    above = ""
    for number, line in enumerate(prose.splitlines(), 1):
        hidden = line.startswith("~~~") or (line.startswith("    ") and not above.strip())
        assert not hidden, f"line {number}: code that is not between ``` and ```: {line!r}"
        above = line
    return blocks


# Running the code of a document.


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
        self.unused -= {name for name in self.unused if name in command}
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
@pytest.mark.parametrize("name", DOCUMENTS)
def test_code(name: str, tmp_path: Path) -> None:
    with playground(tmp_path) as place:
        place.run(code_of(read(name)))


def test_readme_shows_code() -> None:
    # What test_code would not miss: the blocks, should they be written in a way it cannot see.
    languages = [block.language for block in code_of(read("README.md"))]
    assert languages.count("python") >= 4
    assert languages.count("sh") >= 4


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


# Links and names.


def anchors(text: str) -> set[str]:
    """The anchors that a page of *text* has, made from its headings as GitHub does."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", split(text)[1], re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        # The second of two equal headings gets a number.
        again = sum(1 for anchor in found if re.fullmatch(rf"{re.escape(words)}(-\d+)?", anchor))
        found.add(f"{words}-{again}" if again else words)
    return found


def broken_links(name: str, text: str) -> list[str]:
    """Links in a page that do not lead to a file of the tree, or a heading in one."""
    prose = re.sub(r"`[^`]*`", "", split(text)[1])
    targets = re.findall(r"\]\(([^)]*)\)", prose) + re.findall(r"(?m)^\[[^]]+\]: (.*)$", prose)
    return [target for target in targets if not leads_somewhere(target, name, text)]


def leads_somewhere(target: str, name: str, text: str) -> bool:
    """Whether a link in the page *name*, which says *text*, is to something that exists."""
    if target.startswith("https://"):
        return True
    path, _, anchor = target.partition("#")
    file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
    # A link out of the tree works on its author's machine only.
    if not (target and file.exists() and file.is_relative_to(ROOT)):
        return False
    return not anchor or anchor in anchors(file.read_text(encoding="utf-8") if path else text)


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    assert broken_links(name, read(name)) == []


@pytest.mark.parametrize(
    "target",
    ["docs/none.md", "#none", "LICENSE#none", "http://example.org", "..", "/etc/passwd", ""],
)
def test_broken_link_is_noticed(target: str) -> None:
    assert broken_links("README.md", f"[x]({target})") == [target]


def wrong_names(text: str) -> list[str]:
    """Code in the prose of a page that names something which is not there."""
    wrong = []
    for code in re.findall(r"`([^`]+)`", split(text)[1]):
        dotted = re.fullmatch(r"fastchat((?:\.\w+)*)(?:\(.*\))?", code)
        if dotted:
            right = is_public(dotted[1].split(".")[1:])
        elif re.fullmatch(r"make [a-z-]+", code):
            right = re.search(rf"^{code[5:]}:.*## ", read("Makefile"), re.MULTILINE) is not None
        elif code.startswith("fast-"):
            right = code == project()["name"]
        elif code.startswith("FASTCHAT_"):
            readers = ("setup.py", "src/fastchat/_backend.py", "src/fastchat/_settings.py")
            right = code.partition("=")[0] in "".join(map(read, readers))
        elif re.fullmatch(r"[\w./-]+(/|\.py|\.pyi|\.pyx|\.md)", code):
            right = any((ROOT / place / code).exists() for place in ("", "src/fastchat"))
        else:
            right = True
        if not right:
            wrong.append(code)
    return wrong


def is_public(names: list[str]) -> bool:
    """Whether fastchat has an attribute, of an attribute, and so on, of these names."""
    found: Any = fastchat
    for name in names:
        found = getattr(found, name, None)
    return found is not None


@pytest.mark.parametrize("name", DOCUMENTS)
def test_names(name: str) -> None:
    assert wrong_names(read(name)) == []


@pytest.mark.parametrize(
    "name",
    [
        "fastchat.nothing",
        "fastchat.asyncore.nothing()",
        "make nonsense",
        "fast-nonsense",
        "FASTCHAT_NONSENSE",
        "FASTCHAT_NONSENSE=1",
        "nothing.py",
        "tests/nothing.py",
        "nothing/",
    ],
)
def test_wrong_name_is_noticed(name: str) -> None:
    assert wrong_names(f"`{name}`, `fastchat`, `fastchat.install(replace=True)`") == [name]


def test_version() -> None:
    releases = re.findall(r"^## (\d\S*)", read("CHANGELOG.md"), re.MULTILINE)
    assert releases[0].strip(",") == fastchat.__version__
    assert f"This is version {fastchat.__version__}" in read("README.md")


# The differences of docs/compat.md.


class Difference(NamedTuple):
    """A row of the tables of differences: what its cells say."""

    before: str
    now: str
    why: str
    tests: str


def differences() -> list[Difference]:
    """The rows of all tables in the section "Deliberate differences"."""
    _, prose = split(read("docs/compat.md"))
    (section,) = re.findall(r"^## Deliberate differences\n(.*?)(?=^## )", prose, re.DOTALL | re.M)
    rows = []
    for line in section.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
            assert len(cells) == len(Difference._fields), f"not four cells: {line}"
            rows.append(Difference(*cells))
    heads = [row for row in rows if row.tests == "Test"]
    rules = [row for row in rows if set("".join(row)) == {"-"}]
    assert heads
    assert len(heads) == len(rules), "a table without a head"
    return [row for row in rows if row not in heads and row not in rules]


def names_of_tests(name: str) -> set[str]:
    """The names of the tests in a file of tests, ``Class::method`` for those in a class."""
    found = set()
    for node in ast.parse(read(name)).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        inside = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef) and member.name.startswith("test_"):
                found.add(inside + member.name)
    return found


def named_in(cell: str) -> list[tuple[str, str]]:
    """The tests that a cell names: their file, empty for one of ``DIFFERENCES``, and their name."""
    return re.findall(r"`(?:(tests/\w+\.py)::)?((?:\w+::)?test_\w+)`", cell)


def names_of_all_differences() -> list[str]:
    """The names of the tests in all files of ``DIFFERENCES``."""
    return [name for file in DIFFERENCES for name in names_of_tests(file)]


def test_every_difference_has_a_test() -> None:
    rows = differences()
    assert len(rows) >= 20
    for row in rows:
        assert all(row), f"an empty cell: {row}"
        named = named_in(row.tests)
        assert named, f"no test: {row}"
        for file, name in named:
            tests = names_of_tests(file) if file else names_of_all_differences()
            assert name in tests, f"there is no {file or DIFFERENCES}::{name}"


def test_every_group_of_tests_has_a_row() -> None:
    # The tests of one difference begin alike, and a row names some of them, without their file.
    tests = names_of_all_differences()
    assert len(tests) == len(set(tests)), "a name that stands in two files"
    named = [test for row in differences() for test in named_in(row.tests)]
    assert {name.split("_")[1] for name in tests} == {
        name.split("_")[1] for file, name in named if not file
    }


# Rows that have no better place for their tests: what is said and shown.


def chat_of(implementation: Implementation, **attributes: Any) -> Any:
    """A channel without a socket, with attributes of its own."""
    chat = implementation.asynchat.async_chat(None, {})
    vars(chat).update(attributes)
    return chat


def receive(implementation: Implementation, terminator: Any, data: Any, **attributes: Any) -> None:
    chat = chat_of(implementation, recv=lambda size: data, **attributes)
    chat.set_terminator(terminator)
    chat.handle_read()


# What is done, and the arguments of the exception, first those of the standard library.
TEXTS: dict[str, tuple[Callable[[Implementation], None], tuple[Any, ...], tuple[Any, ...]]] = {
    "push": (
        lambda implementation: chat_of(implementation).push("x"),
        ("data argument must be byte-ish (%r)", str),
        (
            "data argument must be byte-ish (<class 'str'>): "
            "push() takes bytes, bytearray or memoryview",
        ),
    ),
    "negative terminator": (
        lambda implementation: chat_of(implementation).set_terminator(-1),
        ("the number of received bytes must be positive",),
        ("the number of received bytes must be positive, not -1",),
    ),
    "list as terminator": (
        lambda implementation: receive(implementation, [1], b"x"),
        ("argument should be integer or bytes-like object, not 'list'",),
        ("a terminator must be bytes, a tuple of bytes, a number of bytes, or None; [1] is list",),
    ),
    "float as terminator": (
        lambda implementation: receive(implementation, 1.5, b"x"),
        ("object of type 'float' has no len()",),
        ("a terminator must be bytes, a tuple of bytes, a number of bytes, or None; 1.5 is float",),
    ),
    "str received": (
        lambda implementation: receive(implementation, b"x", "x", use_encoding=True),
        ("encoding without a string argument",),
        ("can't concat str to bytes",),
    ),
}


# Other interpreters have their own.
WORDS_OF_CPYTHON = {
    "argument should be integer or bytes-like object, not 'list'",
    "encoding without a string argument",
    "can't concat str to bytes",
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(implementation: Implementation, case: str) -> None:
    act, before, now = TEXTS[case]
    with pytest.raises((TypeError, ValueError)) as caught:
        act(implementation)
    expected = before if implementation.is_stdlib else now
    if sys.implementation.name == "cpython" or expected[0] not in WORDS_OF_CPYTHON:
        assert caught.value.args == expected


def test_import_warning(implementation: Implementation) -> None:
    program = f"import {implementation.asynchat.__name__}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True)
    assert (b"DeprecationWarning" in done.stderr) is implementation.is_stdlib
    assert (done.returncode != 0) is implementation.is_stdlib


def test_properties(implementation: Implementation) -> None:
    asyncore, asynchat = implementation.asyncore, implementation.asynchat
    for owner, name in [
        (chat_of(implementation), "ac_in_buffer"),
        (asyncore.dispatcher_with_send(None, {}), "out_buffer"),
        (asynchat.simple_producer(b"x"), "data"),
    ]:
        setattr(owner, name, b"assigned")
        assert getattr(owner, name) == b"assigned"
        assert (name in vars(owner)) is implementation.is_stdlib
        if implementation.is_stdlib or name == "ac_in_buffer":
            delattr(owner, name)
            assert not hasattr(owner, name)
        else:
            with pytest.raises(AttributeError):
                delattr(owner, name)


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    results = set(re.findall(r"bench/results/([\w.-]+\.json)", read("docs/performance.md")))
    # The README names the interpreter.
    (name,) = [name for name in results if "-cpython-3.11." in name]
    serve = Results.read(ROOT / "bench" / "results" / name).serve
    assert serve
    rows = re.findall(r"^\| `([\w-]+)`.* \| ([\d.]+) \| ([\d.]+) \|$", read("README.md"), re.M)
    assert rows
    for workload, *figures in rows:
        comparison = serve.workloads[workload]
        wanted = [comparison.ratio("fastchat", over) for over in ("stdlib", "uvloop-protocol")]
        assert figures == [median(figure) for figure in wanted], workload


def test_module_names(implementation: Implementation) -> None:
    prefix = "" if implementation.is_stdlib else "fastchat."
    for module, name in [
        (implementation.asyncore, "dispatcher"),
        (implementation.asynchat, "async_chat"),
    ]:
        short = module.__name__.rpartition(".")[2]
        assert module.__name__ == prefix + short
        assert repr(getattr(module, name)()).startswith(f"<{prefix}{short}.{name} at 0x")


@pytest.mark.skipif(os.name != "posix", reason="there is no file_wrapper")
def test_wrapper_of_nothing(
    implementation: Implementation, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EBADF))):
        implementation.asyncore.file_wrapper(-1)
    gc.collect()
    assert len(complaints) == (1 if implementation.is_stdlib else 0)
