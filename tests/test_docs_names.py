"""What the documents say is so: their links lead somewhere, and their names and figures exist."""

from __future__ import annotations

import ast
import re
from typing import Any, NamedTuple

import pytest

import fastchat
import fastchat.aio  # which is an attribute of the package only then
from bench.results import Results
from bench.tables import median, spread
from tests.support.building import ROOT
from tests.support.documents import (
    ADDRESS,
    DOCUMENTS,
    leads_somewhere,
    links,
    project,
    read,
    split,
)

# Somebody may read these on a page, so their links and names count as well.
PAGES = [*DOCUMENTS, "CONTRIBUTING.md"]

DIFFERENCES = sorted(f"tests/{p.name}" for p in ROOT.glob("tests/test_differences_*.py"))


# Links and names.


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    assert [link for link in links(read(name)) if not leads_somewhere(link, name)] == []


@pytest.mark.parametrize(
    "target",
    [
        "docs/none.md",
        "#none",
        "LICENSE#none",
        f"{ADDRESS}docs/none.md",
        f"{ADDRESS}LICENSE#none",
        "http://example.org",
        "..",
        "/etc/passwd",
        "",
    ],
)
def test_broken_link_is_noticed(target: str) -> None:
    assert links(f"[x]({target})") == [target]
    assert not leads_somewhere(target)


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
    """Whether fastchat has an attribute, of an attribute, and so on, of these names.

    fastchat.prometheus counts also where it cannot be imported.
    """
    if names == ["prometheus"]:
        return (ROOT / "src/fastchat/prometheus.py").exists()
    found: Any = fastchat
    for name in names:
        found = getattr(found, name, None)
    return found is not None


def way_of_a_line() -> list[tuple[str, str]]:
    """The files and functions of the diagram in docs/design.md."""
    (diagram,) = re.findall(r"```diagram\n(.*?)```", read("docs/design.md"), re.DOTALL)
    steps, file = [], ""
    for line in diagram.splitlines():
        found = re.match(r"^ ([\w/]+\.p\w+)?\s+(\w+)  ", line)
        if found:
            file = found[1] or file
            steps.append((file, found[2]))
    return steps


def test_the_way_of_a_line_is_in_few_files() -> None:
    steps = way_of_a_line()
    assert len(steps) == 11
    assert len({file for file, _ in steps}) == 5
    for file, function in steps:
        source = read(f"src/fastchat/{file}")
        assert re.search(rf"^ *(def|cp?def) ?.*\b{function}\(", source, re.MULTILINE), function


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


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    results = set(re.findall(r"bench/results/([\w.-]+\.json)", read("docs/performance.md")))
    # The README names the interpreter.
    (name,) = [name for name in results if "-cpython-3.15." in name]
    serve = Results.read(ROOT / "bench" / "results" / name).serve
    assert serve
    rows = re.findall(r"^\| `([\w-]+)`: (.*) \| .* \| (.*) \| (.*) \|$", read("README.md"), re.M)
    assert rows
    for workload, words, *figures in rows:
        comparison = serve.workloads[workload]
        engine = "fastchat" if "imported" in words else "fastchat-unheld"
        on_uvloop = [
            ratio
            for other in ("uvloop-protocol", "uvloop-joined", "uvloop-streams", "aiofastnet-uvloop")
            if (ratio := comparison.ratio(engine, other)) is not None
        ]
        assert len(on_uvloop) == 4
        best = max(on_uvloop, key=lambda ratio: ratio.median)
        wanted = [comparison.ratio(engine, "pyasynchat"), best]
        assert figures == [f"{median(each)} ({spread(each)})" for each in wanted], workload
