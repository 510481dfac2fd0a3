"""Addresses of the project's own pages: they begin as pyproject.toml says, and lead to a heading.

Whoever has installed the package has no tree beside it, and the page on PyPI has none either. So
the README links by address, and what the package says of its documents is an address, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.building import ROOT
from tests.support.documents import ADDRESS, DOCUMENTS, leads_somewhere, links, project, read

# What a page of the repository has that is no file of the tree.
OTHER_PAGES = ["", "/issues", "/security/policy", "/security/advisories/new", "/actions"]

MODULES = sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("src/fastchat/**/*.py"))
PAGES = [*DOCUMENTS, "CONTRIBUTING.md", "pyproject.toml"]


def texts(name: str) -> Iterator[str]:
    """The docstrings and other texts of a module."""
    for node in ast.walk(ast.parse(read(name))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def faults(text: str) -> list[str]:
    """The addresses of the repository in *text* that lead nowhere."""
    repository = project()["urls"]["Repository"]
    found = re.findall(rf"{re.escape(repository)}[^\s\"'`)>\]]*", text)
    others = [repository + page for page in OTHER_PAGES]
    return [
        address
        for address in found
        if address not in others and not (address.startswith(ADDRESS) and leads_somewhere(address))
    ]


@pytest.mark.parametrize("name", PAGES)
def test_addresses_in_pages_lead_somewhere(name: str) -> None:
    assert faults(read(name)) == []


@pytest.mark.parametrize("name", MODULES)
def test_modules_cite_documents_by_address(name: str) -> None:
    for text in texts(name):
        assert faults(text) == []
        cited = re.findall(r"\S*docs/\w+\.md\S*", text)
        assert [word for word in cited if not word.startswith(ADDRESS)] == []


def test_modules_cite_documents() -> None:
    # Were there none, the test above would look at nothing.
    citing = [name for name in MODULES if any(ADDRESS in text for text in texts(name))]
    assert {"src/fastchat/asyncore.py", "src/fastchat/cli.py"} <= set(citing)


@pytest.mark.parametrize("page", ["blob/main/docs/none.md", "blob/main/LICENSE#none", "wiki"])
def test_an_address_that_leads_nowhere_is_noticed(page: str) -> None:
    address = f"{project()['urls']['Repository']}/{page}"
    assert faults(f"See <{address}>.") == [address]


def test_the_readme_links_by_address() -> None:
    # Where PyPI shows it there are neither the other files nor anchors.
    found = links(read("README.md"))
    assert found
    assert [target for target in found if not target.startswith("https://")] == []


def test_the_addresses_of_the_project() -> None:
    urls = project()["urls"]
    assert urls["Documents"] == ADDRESS
    assert ADDRESS.startswith(urls["Repository"] + "/")
