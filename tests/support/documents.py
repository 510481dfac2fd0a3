"""The documents of the project, and the code that stands in them, for the files test_docs_*.py."""

from __future__ import annotations

import re
import tomllib
from typing import Any, NamedTuple

from tests.support.building import ROOT

DOCUMENTS = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")),
]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    table: dict[str, Any] = tomllib.loads(read("pyproject.toml"))["project"]
    return table


# What the addresses of the tree's files begin with.
ADDRESS: str = project()["urls"]["Documents"]


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


def anchors(text: str) -> set[str]:
    """The anchors that a page of *text* has, made from its headings as GitHub does."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", split(text)[1], re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        # The second of two equal headings gets a number.
        again = sum(1 for anchor in found if re.fullmatch(rf"{re.escape(words)}(-\d+)?", anchor))
        found.add(f"{words}-{again}" if again else words)
    return found


def links(text: str) -> list[str]:
    """What the links in the prose of a page lead to."""
    prose = re.sub(r"`[^`]*`", "", split(text)[1])
    return re.findall(r"\]\(([^)]*)\)", prose) + re.findall(r"(?m)^\[[^]]+\]: (.*)$", prose)


def leads_somewhere(target: str, name: str = "README.md") -> bool:
    """Whether a link in the page *name* is to a file of the tree, or to a heading in one.

    An address of the tree counts as a link to a file; what other sites have, nobody knows here.
    """
    if target.startswith(ADDRESS):
        target, name = target.removeprefix(ADDRESS) or ".", "README.md"
    elif target.startswith("https://"):
        return True
    path, _, anchor = target.partition("#")
    file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
    # A link out of the tree works on its author's machine only.
    if not (target and file.exists() and file.is_relative_to(ROOT)):
        return False
    return not anchor or anchor in anchors(file.read_text(encoding="utf-8"))
