"""The documents of the project, and the code that stands in them, for the files test_docs_*.py."""

from __future__ import annotations

import tomllib
from typing import Any, NamedTuple

from tests.support.building import ROOT

DOCUMENTS = ["README.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]


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
