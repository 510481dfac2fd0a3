"""``make wheels``: it finds the Pythons, refuses a wheel that is not as it should be, and says why.

What it does with wheels that are as they should be, it shows where it runs.  Here the interpreters
are scripts that say what they are, and the wheels hold nothing but a description.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.building import clean_environment
from tools.wheels.__main__ import make_empty
from tools.wheels.interpreters import Interpreter, ask, candidates, find
from tools.wheels.making import PURE, Failure, check_tags, run
from tools.wheels.proving import Proof, Row, link_programs, prove

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="make wheels is for Linux")

CP312 = Interpreter(Path("python3.12"), "3.12", "3.12.1", "cp312-cp312", True)
HERE = Interpreter(Path(sys.executable), "here", "", "", True)


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def python(path: Path, tag: str, can_build: bool = True) -> Path:
    """A command that answers as the Python whose wheels have this tag."""
    said = {"name": tag, "version": "3.12.1", "tag": tag, "can_build": can_build}
    return script(path, f"echo '{json.dumps(said)}'")


# Interpreters


def test_one_python_for_each_kind_of_wheel(tmp_path: Path) -> None:
    paths = [
        python(tmp_path / "pypy3", "py3-none"),
        python(tmp_path / "python3.13t", "cp313-cp313t"),
        python(tmp_path / "bare", "cp312-cp312", can_build=False),
        python(tmp_path / "python3.12", "cp312-cp312"),
        python(tmp_path / "another", "cp312-cp312"),
        python(tmp_path / "python3.13", "cp313-cp313"),
        python(tmp_path / "python3.14", "cp314-cp314", can_build=False),
        script(tmp_path / "refuses", "echo no such version; exit 127"),
        script(tmp_path / "says-something-else", "echo hello"),
        script(tmp_path / "says-a-number", "echo 5"),
        tmp_path / "missing",
    ]
    found = [(each.path.name, each.can_build) for each in find(paths)]
    assert found == [
        ("python3.12", True),
        ("python3.13", True),
        ("python3.13t", True),
        ("python3.14", False),
        ("pypy3", True),
    ]


def test_directories_that_are_not_to_be_read_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("locked", "mine"):
        (tmp_path / name).mkdir()
        script(tmp_path / name / "python3", "")
    iterdir = Path.iterdir

    def iterdir_of_user(path: Path) -> Iterator[Path]:  # root, who may read all, runs this, too
        if path.name == "locked":
            raise PermissionError(path)
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", iterdir_of_user)
    monkeypatch.setenv("PATH", f"{tmp_path / 'locked'}:{tmp_path / 'mine'}")
    assert tmp_path / "mine" / "python3" in candidates()
    link_programs(tmp_path / "programs")


def test_what_this_python_says() -> None:
    said = ask(Path(sys.executable))
    if hasattr(sys, "gettotalrefcount"):
        assert said is None  # debug builds have wheels that nobody is given
        return
    assert said is not None
    assert said.version == platform.python_version()
    assert said.is_cpython == (sys.implementation.name == "cpython")
    assert said.has_gil or not getattr(sys, "_is_gil_enabled", lambda: True)()


# Tags


@pytest.mark.parametrize(
    "tags",
    [
        "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64",
        "cp312-cp312-manylinux_2_28_aarch64",
    ],
)
def test_tags_of_an_old_system(tags: str) -> None:
    check_tags(f"fast_asynchat-1-{tags}.whl", CP312)


@pytest.mark.parametrize(
    ("tags", "fault"),
    [
        ("cp312-cp312-linux_x86_64", "wants more of the system than manylinux_2_28"),
        ("cp312-cp312-manylinux_2_29_x86_64", "wants more of the system"),
        ("cp312-cp312-manylinux_2_17_x86_64.manylinux_3_0_x86_64", "wants more of the system"),
        ("cp312-cp312-any", "wants more of the system"),
        ("cp313-cp313-manylinux_2_17_x86_64", "is not for cp312-cp312"),
        ("cp312-cp312t-manylinux_2_17_x86_64", "is not for cp312-cp312"),
        ("cp312-none-manylinux_2_17_x86_64", "is not for cp312-cp312"),
    ],
)
def test_other_tags_are_refused(tags: str, fault: str) -> None:
    with pytest.raises(Failure, match=fault):
        check_tags(f"fast_asynchat-1-{tags}.whl", CP312)


# The directory that they are left in


def test_only_what_was_made_is_removed(tmp_path: Path) -> None:
    out = tmp_path / "dist"
    make_empty(out, None)
    for name in (f"fast_asynchat-1-{PURE}.whl", "fast_asynchat-1.tar.gz", "wheels.md"):
        (out / name).touch()
    make_empty(out, tmp_path)
    assert not list(out.iterdir())
    (out / "thesis.tex").touch()
    with pytest.raises(Failure, match=r"holds thesis\.tex"):
        make_empty(out, None)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("beside", "fault"),
    [("dist", "another directory"), ("link", "another directory"), ("missing", "no directory")],
)
def test_wheels_from_elsewhere_are_kept(tmp_path: Path, beside: str, fault: str) -> None:
    out = tmp_path / "dist"
    out.mkdir()
    (out / f"fast_asynchat-1-{PURE}.whl").touch()
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(Failure, match=fault):
        make_empty(out, tmp_path / beside)
    assert list(out.iterdir())


# The environments of a build and of a proof


@pytest.mark.parametrize("name", ["CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED"])
def test_compilers_are_given_what_python_was_built_with(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "-march=native")
    assert name not in clean_environment({})
    assert clean_environment({name: "-O0"})[name] == "-O0"


def test_wheels_are_the_same_for_every_umask() -> None:
    before = os.umask(0o077)
    try:
        said = run([sys.executable, "-c", "import os; print(oct(os.umask(0)))"], os.environ)
    finally:
        os.umask(before)
    assert said == "0o22\n"


def test_programs_without_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    compilers = [
        "cc",
        "gcc",
        "gcc-12",
        "x86_64-linux-gnu-gcc",
        "g++",
        "clang-19",
        "c99",
        "ld",
        "tcc",
    ]
    for name in (*compilers, "python3", "python3.12", "pip", "curl", "redis-cli", "c_rehash"):
        script(machine / name, "")
    monkeypatch.setenv("PATH", f"{machine}:{tmp_path / 'missing'}")
    link_programs(tmp_path / "programs")
    left = {path.name for path in (tmp_path / "programs").iterdir()}
    assert left == {"curl", "redis-cli", "c_rehash"}


def test_what_programs_say_has_no_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # its lines are searched, and stand in the table
    assert "FORCE_COLOR" not in proof(tmp_path, tmp_path, PURE).environment


# What pip chooses


def put_wheel(index: Path, tags: str) -> None:
    """Write a wheel that pip can install."""
    about = "fast_asynchat-1.dist-info"
    with zipfile.ZipFile(index / f"fast_asynchat-1-{tags}.whl", "w") as wheel:
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: fast-asynchat\nVersion: 1\n"
        )
        tag = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n"
        wheel.writestr(f"{about}/WHEEL", tag)
        wheel.writestr(f"{about}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with a wheel for everyone, and those of other Pythons and machines."""
    index = tmp_path / "index"
    index.mkdir()
    own = "cp{0}{1}-cp{0}{1}".format(*sys.version_info)
    put_wheel(index, PURE)
    put_wheel(index, f"{own}-manylinux_2_17_sparc")
    put_wheel(index, "cp310-cp310-manylinux_2_17_" + platform.machine())
    return index


def proof(index: Path, tmp_path: Path, expected: str) -> Proof:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    row = Row(HERE, expected)
    return Proof(row, index=index, unpacked=tmp_path, programs=tmp_path, scratch=scratch)


@pytest.mark.build
def test_pip_takes_what_is_expected(index: Path, tmp_path: Path) -> None:
    chosen = proof(index, tmp_path, PURE)
    chosen.install()
    assert (chosen.row.wheel, chosen.row.tag) == (f"fast_asynchat-1-{PURE}.whl", PURE)
    assert chosen.row.size == (index / chosen.row.wheel).stat().st_size
    # And an sdist that lacks the proof proves nothing.
    with pytest.raises(Failure):
        chosen.prove_artefact()


@pytest.mark.build
def test_a_wheel_that_is_missing_is_noticed(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # pip is content with the one for everyone, and so would the user be, who gets a slow one.
    missing = proof(index, tmp_path, "cp312-cp312")
    prove(missing, with_suite=False)
    said = capsys.readouterr().out
    assert f"pip takes fast_asynchat-1-{PURE}.whl, and not the one for cp312-cp312" in said
    assert missing.row.verdict == "pip chooses FAILED; left out"
    assert missing.row.implementation == "-"
