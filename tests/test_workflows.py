"""The workflows: what runs in them is pinned, may do little, and is waited for by one gate.

Each rule is a function that returns what breaks it, and is seen to notice a breach that is made on
purpose.  The two scripts that decide something, whether wheels are built and whether all is green,
are run as they stand in the file.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.building import ROOT, project_files

WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.y*ml")}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

GATE = "all-green"
PINNED = re.compile(r"uses: ([\w.-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)")
OURS = re.compile(r"uses: \./\.github/workflows/")

Texts = dict[str, str]
Jobs = dict[str, dict[str, Any]]


@functools.cache
def parsed(text: str) -> Any:
    """A workflow's content; by YAML 1.2, in which `on` is a word as any other."""
    return YAML(typ="safe", pure=True).load(StringIO(text))


def jobs_of(texts: Texts) -> Jobs:
    """Every job, by the name of its file and its own."""
    return {
        f"{file}: {name}": job
        for file, text in texts.items()
        for name, job in parsed(text)["jobs"].items()
    }


def used(job: dict[str, Any]) -> Iterator[str]:
    """The actions and workflows that a job uses, as they are named in the file."""
    yield from (user["uses"] for user in [job, *job.get("steps", [])] if "uses" in user)


def uses(job: dict[str, Any], action: str) -> bool:
    return any(name.startswith(action) for name in used(job))


def dependents(jobs: Jobs, name: str) -> set[str]:
    """The jobs of a file that wait for one of them, directly or through others."""
    waiting = {other for other, job in jobs.items() if name in needs(job)}
    return waiting.union(*(dependents(jobs, other) for other in waiting))


def needs(job: dict[str, Any]) -> list[str]:
    named = job.get("needs", [])
    return [named] if isinstance(named, str) else named


# The rules.  Each returns the places that break it.


def unpinned(texts: Texts) -> list[str]:
    """An action is named by a SHA with its version, everywhere the same; ours by their path."""
    lines = re.findall(r"^ +(?:- )?(uses: .*)$", "\n".join(texts.values()), re.MULTILINE)
    named = sorted(name for job in jobs_of(texts).values() for name in used(job))
    assert named == sorted(line.split()[1] for line in lines)  # none is written another way
    pins = {found.groups() for line in lines if (found := PINNED.fullmatch(line))}
    actions = [action for action, *_ in pins]
    return [line for line in lines if not (PINNED.fullmatch(line) or OURS.match(line))] + [
        action for action in set(actions) if actions.count(action) > 1
    ]


def without_limit(texts: Texts) -> list[str]:
    """Every job ends, in the six hours that GitHub gives it at most."""
    return [
        place
        for place, job in jobs_of(texts).items()
        if "runs-on" in job and not 0 < job.get("timeout-minutes", 0) <= 360
    ]


def with_wrong_permissions(texts: Texts) -> list[str]:
    """A workflow has no permission, and a job what it uses, and no other."""
    wrong = [file for file, text in texts.items() if parsed(text)["permissions"] != {}]
    for place, job in jobs_of(texts).items():
        wanted = {}
        if uses(job, "actions/checkout@") or uses(job, "./"):
            wanted["contents"] = "read"
        if uses(job, "pypa/gh-action-pypi-publish@"):
            wanted["id-token"] = "write"
        if job.get("permissions", {}) != wanted:
            wrong.append(place)
    return wrong


def publishing_other_than_guarded(texts: Texts) -> list[str]:
    """One job can have a token: after the gate, for a tag, approved; it runs no code of ours."""
    publishers = {
        place: job
        for place, job in jobs_of(texts).items()
        if "id-token" in str(job.get("permissions"))
    }
    guarded = "github.event_name == 'push' && github.ref_type == 'tag'"
    return [
        place
        for place, job in publishers.items()
        if place != "test.yml: publish"
        or (job["if"], needs(job), job["environment"]["name"]) != (guarded, [GATE], "pypi")
        or any("run" in step or "checkout" in step["uses"] for step in job["steps"])
    ] + [f"{len(publishers)} publish"] * (len(publishers) != 1)


def not_waited_for(texts: Texts) -> list[str]:
    """The gate needs each job that does not need the gate, and runs whatever becomes of them."""
    jobs = parsed(texts["test.yml"])["jobs"]
    awaited = jobs.keys() - dependents(jobs, GATE) - {GATE}
    missed = awaited.symmetric_difference(needs(jobs[GATE]))
    return sorted(missed) + ["always()"] * (jobs[GATE]["if"] != "always()")


def not_called(texts: Texts) -> list[str]:
    """The other workflows run when a job that the gate needs calls them, and else never."""
    called = {name for job in parsed(texts["test.yml"])["jobs"].values() for name in used(job)}
    return [
        file
        for file, text in texts.items()
        if file != "test.yml"
        if f"./.github/workflows/{file}" not in called
        or list(parsed(text)["on"]) != ["workflow_call"]
    ]


def with_path_filters(texts: Texts) -> list[str]:
    """None is kept from running: a check that is required would be waited for without end."""
    return [
        f"{file}: {event}"
        for file, text in texts.items()
        for event, filters in parsed(text)["on"].items()
        if any("paths" in name for name in filters or ())
    ]


def with_credentials(texts: Texts) -> list[str]:
    """No checkout leaves the job's token in the tree, where what runs there could read it."""
    return [
        place
        for place, job in jobs_of(texts).items()
        for step in job.get("steps", [])
        if step.get("uses", "").startswith("actions/checkout@")
        if step["with"]["persist-credentials"] is not False
    ]


def untested_interpreters(texts: Texts) -> list[str]:
    """What the classifiers promise is tested, on each system; and without a GIL."""
    jobs = parsed(texts["test.yml"])["jobs"]
    words = [name.split(" :: ") for name in PYPROJECT["project"]["classifiers"]]
    promised = {word[-1] for word in words if re.fullmatch(r"3\.\d+", word[-1])}
    compiled, pure = (jobs[name]["strategy"]["matrix"] for name in ("compiled", "pure"))
    assert compiled["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    more = {entry["python"] for entry in [*compiled["include"], *pure["include"]]}
    wanted = {"3.14t", "3.15t", "pypy3.11"}
    return sorted(promised.symmetric_difference(compiled["python"]) | (wanted - more))


RULES: list[tuple[Callable[[Texts], list[str]], str, str]] = [
    (unpinned, r"(actions/checkout)@\w+ #", r"\1@v6 #"),
    (unpinned, r"(actions/checkout@\w+) # \S+", r"\1"),
    (unpinned, r"(actions/checkout@)\w", r"\1f"),
    (without_limit, r"    timeout-minutes: 5\n", ""),
    (with_wrong_permissions, r"\npermissions: {}", r"\npermissions: {contents: read}"),
    (with_wrong_permissions, r"contents: read", "contents: write"),
    (with_wrong_permissions, r"    permissions: {}\n", "    permissions: {actions: read}\n"),
    (
        publishing_other_than_guarded,
        r"  whole:(?s:.*?)permissions:",
        r"\g<0> {id-token: write}\n    x:",
    ),
    (publishing_other_than_guarded, r"id-token: write", "packages: write"),
    (publishing_other_than_guarded, r" && github.ref_type == 'tag'\n", "\n"),
    (publishing_other_than_guarded, r"needs: all-green", "needs: wheels"),
    (
        publishing_other_than_guarded,
        r"(?s)print-hash: true.*",
        "print-hash: true\n      - run: make",
    ),
    (not_waited_for, r"jobs:\n", "jobs:\n  forgotten: {runs-on: ubuntu-latest}\n"),
    (not_waited_for, r"pure, changes, ", "changes, "),
    (not_waited_for, r"if: always\(\)", "if: success()"),
    (not_called, r"uses: ./.github\S+", "runs-on: x"),
    (with_path_filters, r"  pull_request:\n", "  pull_request: {paths: [src]}\n"),
    (with_credentials, r"persist-credentials: false", "persist-credentials: true"),
    (untested_interpreters, r', "3.15"\]', "]"),
    (untested_interpreters, r"pypy3.11", "3.13"),
]


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _, _ in RULES))
def test_rule_is_kept(rule: Callable[[Texts], list[str]]) -> None:
    assert rule(WORKFLOWS) == []


@pytest.mark.parametrize(("rule", "written", "instead"), RULES)
def test_breach_is_noticed(rule: Callable[[Texts], list[str]], written: str, instead: str) -> None:
    broken, times = re.subn(written, instead, WORKFLOWS["test.yml"], count=1)
    assert times == 1
    assert rule(WORKFLOWS | {"test.yml": broken}) != []


# What decides.


def script(job: str) -> str:
    """The one script of a job."""
    (text,) = (
        step["run"] for step in parsed(WORKFLOWS["test.yml"])["jobs"][job]["steps"] if "run" in step
    )
    assert isinstance(text, str)
    return text


def test_what_makes_a_wheel_is_watched() -> None:
    (words,) = re.findall(r"paths=\(([^)]*)\)", script("changes"))
    project = PYPROJECT["project"]
    makes = {
        "setup.py",
        "pyproject.toml",
        "MANIFEST.in",
        project["readme"],
        *project["license-files"],
    }
    files = [
        name
        for name in project_files()
        if name in makes or name.startswith(("src/", ".github/workflows/"))
    ]
    assert makes < set(files)
    assert {Path(name).suffix for name in files} >= {".py", ".pyi", ".pyx", ".pxd", ".typed"}
    inside = [
        name for name in files if any(f"{name}/".startswith(f"{at}/") for at in words.split())
    ]
    assert inside == files


@pytest.mark.skipif(
    sys.platform == "win32", reason="the script runs on Linux; bash is another there"
)
@pytest.mark.parametrize(
    ("event", "changed", "wheels"),
    [
        ("pull_request", "src/fastchat/_core/watch.pxd", "true"),
        ("pull_request", "src/fastchat/_scanner.pyx", "true"),
        ("pull_request", "src/fastchat/new.pxi", "true"),
        ("pull_request", "pyproject.toml", "true"),
        ("pull_request", "docs/design.md", "false"),
        ("pull_request", "tests/src/setup.py", "false"),
        ("push", "docs/design.md", "true"),  # of which it may be the last commit of many
        ("workflow_dispatch", "docs/design.md", "true"),
        ("pull_request", None, "true"),  # nothing to compare with
    ],
)
def test_whether_wheels_are_built(
    event: str, changed: str | None, wheels: str, tmp_path: Path
) -> None:
    tree, output = tmp_path / "tree", tmp_path / "output"
    git = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    tree.mkdir()
    output.touch()
    subprocess.run([*git, "init", "-q"], check=True)
    for name in ["LICENSE", changed]:
        if name is not None:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).touch()
            subprocess.run([*git, "add", "."], check=True)
            subprocess.run([*git, "commit", "-q", "-m", name], check=True)
    environment = {"GITHUB_EVENT_NAME": event, "GITHUB_OUTPUT": str(output)}
    subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script("changes")],
        cwd=tree,
        env=os.environ | environment,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    assert output.read_text() == f"wheels={wheels}\n"


@pytest.mark.parametrize(
    ("results", "built", "green"),
    [
        ({}, "true", True),
        ({"wheels": "skipped"}, "false", True),
        ({"wheels": "skipped"}, "true", False),
        ({"wheels": "failure"}, "true", False),
        ({"wheels": "success"}, "false", False),
        ({"compiled": "failure"}, "true", False),
        ({"compiled": "skipped"}, "true", False),
        ({"pure": "cancelled", "wheels": "skipped"}, "false", False),
        ({"changes": "failure", "wheels": "skipped"}, None, False),
    ],
)
def test_gate(results: dict[str, str], built: str | None, green: bool) -> None:
    needed = {name: {"result": "success", "outputs": {}} for name in needs_of_the_gate()}
    needed["changes"]["outputs"] = {} if built is None else {"wheels": built}
    for name, result in results.items():
        needed[name]["result"] = result
    command = [sys.executable, "-c", script(GATE)]
    environment = os.environ | {"NEEDS": json.dumps(needed)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) is green, done.stderr
    assert green or done.stderr.startswith("found ")


def needs_of_the_gate() -> list[str]:
    return needs(parsed(WORKFLOWS["test.yml"])["jobs"][GATE])


def test_what_tests_install_comes_after_the_sdist_is_kept() -> None:
    steps = parsed(WORKFLOWS["wheels.yml"])["jobs"]["sdist"]["steps"]
    (kept,) = (at for at, step in enumerate(steps) if "upload-artifact" in step.get("uses", ""))
    tested = [at for at, step in enumerate(steps) if "test" in step.get("run", "")]
    assert tested
    assert kept < min(tested)
