"""docs/reference.md has a line for every public name, and the line has the types of the stubs.

``tests/test_types.py`` holds the stubs to the modules.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator

import pytest

import fastchat
from fastchat import aio, asynchat, asyncore
from tests.support.documents import read

# Where the signatures stand, by heading of the page.
SOURCES = {
    "fastchat": [
        f"src/fastchat/{name}.py"
        for name in (
            "aliases",
            "attachment",
            "channel",
            "server",
            "timers",
            "_reports",
            "_core/agenda",
            "_core/lines",
            "_core/line_rules",
        )
    ],
    "fastchat.aio": [
        f"src/fastchat/aio/_{name}.py" for name in ("connection", "protocol", "streams")
    ],
    "fastchat.prometheus": ["src/fastchat/prometheus.py"],
    "fastchat.asyncore": ["src/fastchat/asyncore.pyi"],
    "fastchat.asynchat": ["src/fastchat/asynchat.pyi"],
}

# Those that say what is public.
PACKAGES = {"fastchat": fastchat, "fastchat.aio": aio}

# Underscores that a subclass is meant to use.
DOCUMENTED = {"_collect_incoming_data", "_get_data"}


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in DOCUMENTED


def shown(node: ast.AST) -> str:
    """The source of *node*, with the aliases of types as the page names them."""
    source = re.sub(r"\b_([A-Z]\w+)", r"\1", ast.unparse(node))
    return re.sub(r"(?<=[\w\]])=(?=\S)", " = ", source)


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, is_method: bool) -> str:
    """*node* as the page has it: what a caller gives and gets."""
    arguments = node.args
    if is_method:
        (arguments.posonlyargs or arguments.args).pop(0)
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        assert node.returns is not None
        return f"{name}: {shown(node.returns)}"
    result = "" if node.name == "__init__" or node.returns is None else f" -> {shown(node.returns)}"
    prefix = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{prefix}{name}({shown(arguments)}){result}"


def lines_of(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """The lines that a stub's *body* asks for; *owner* is the class that it belongs to."""
    for node in body:
        if isinstance(node, ast.If):
            yield from lines_of(node.body, owner)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
            if is_public(name):
                yield f"{name}: {shown(node.annotation)}"
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and not owner:
            if is_public(node.targets[0].id):
                yield shown(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if owner and node.name == "__init__":
                yield signature(node, owner, True)
            elif is_public(node.name) and not any(
                ast.unparse(each).endswith(".setter") for each in node.decorator_list
            ):
                yield signature(node, node.name, bool(owner))


def wanted() -> dict[str, list[str]]:
    """By heading, the lines that the page has to have."""
    found: dict[str, list[str]] = {}
    for module, sources in SOURCES.items():
        body = [node for source in sources for node in ast.parse(read(source)).body]
        if module in PACKAGES:
            body = [node for node in body if getattr(node, "name", "") in PACKAGES[module].__all__]
        found[module] = list(lines_of(body))
        for node in body:
            for each in node.body if isinstance(node, ast.If) else [node]:
                if isinstance(each, ast.ClassDef) and is_public(each.name):
                    found[f"{module}.{each.name}"] = list(lines_of(each.body, each.name))
    return found


def written() -> dict[str, list[str]]:
    """By heading, the code with which each line of the page's lists begins."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in read("docs/reference.md").splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
            found[heading] = []
        elif line.startswith("- "):
            code = re.match(r"- `([^`]+)`: \S", line)
            assert code, f"no code and its meaning: {line}"
            found[heading].append(code[1])
    return found


@pytest.mark.parametrize("heading", wanted())
def test_every_name_has_a_line_with_its_types(heading: str) -> None:
    there, needed = written()[heading], wanted()[heading]
    # In this form pytest shows what to add, and what to take out.
    assert [line for line in needed if line not in there] == []
    assert [line for line in there if line not in needed] == []


@pytest.mark.parametrize("module", [asyncore, asynchat], ids=lambda module: module.__name__)
def test_every_public_name_of_a_module_is_there(module: types.ModuleType) -> None:
    lines = written()
    here = " ".join(lines[module.__name__])
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, type):
            assert f"{module.__name__}.{name}" in lines, name
        else:
            assert re.search(rf"\b{name}\b", here), name


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_package_is_there(package: str) -> None:
    text = read("docs/reference.md")
    for name in PACKAGES[package].__all__:
        is_there = re.search(rf"`(async )?{name}\b|# {package}\.{name}\n", text)
        assert is_there, name
