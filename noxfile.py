"""The Makefile's lanes, on every interpreter there is: ``nox``, ``nox -s tests-3.13``, ``nox -l``.

Interpreters that are not installed are passed over; CI names those it insists on.
"""

from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "pure", "lint", "types", "coverage"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]


def prepare(session: nox.Session, *groups: str, extension: str = "yes") -> None:
    """Install the package as a user would get it, and the tools of some groups."""
    project = nox.project.load_toml("pyproject.toml")
    session.install(".", env={"FASTCHAT_BUILD_EXTENSION": extension})
    session.install(*nox.project.dependency_groups(project, *groups))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the suite; an extension that is missing fails it."""
    prepare(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=[*PYTHONS, "pypy3.11"])
def pure(session: nox.Session) -> None:
    """Run the suite on a package without the extension."""
    prepare(session, "test", extension="no")
    session.run("python", "-m", "pytest", "--no-extension", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of Python and Cython, and the workflows."""
    prepare(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("cython-lint", "src")
    session.run("zizmor", "--offline", "--quiet", ".github")
    workflows = map(str, Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    prepare(session, "test", "lint")
    session.run("mypy")
    session.run("pyright")
    required = {"FASTCHAT_REQUIRE_MYPY": "1", "FASTCHAT_REQUIRE_PYRIGHT": "1"}
    session.run("python", "-m", "pytest", "tests/test_types.py", env=required)


@nox.session
def coverage(session: nox.Session) -> None:
    """Fail below 100 % of lines and branches."""
    prepare(session, "test")
    session.run("coverage", "erase")
    # As in Makefile.
    words = ["-n", "auto", "--dist", "loadfile", "--ignore", "tests/test_leaks.py"]
    session.run("coverage", "run", "-m", "pytest", "-m", "not build", *words, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")
