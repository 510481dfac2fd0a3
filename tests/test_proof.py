"""The proof of a wheel (tests/wheel) passes a good one, and each kind of bad one turns it red.

One wheel is built, and the others are made of it: with files left out or changed, or with an
extension that was built wrong in the place of the good one.  What is timed is no part of this.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.building import ROOT, build, clean_environment, copy_project, run, the_only
from tests.support.implementations import AUTOMATIC
from tests.support.wheels import install, library, pack, unpack

pytestmark = [
    pytest.mark.build,
    pytest.mark.skipif(
        sys.platform != "linux" or sys.implementation.name != "cpython",
        reason="strips and reads ELF, of extensions of CPython",
    ),
]

PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "-q")
UNTIMED = ("tests/wheel/test_contents.py", "tests/wheel/test_running.py")

# What may fail for the size alone.
LARGER = {"test_extension_is_small", "test_size"}

# Changes an unpacked wheel, before it is packed again.
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel as pip builds it, which strips nothing."""
    tree = copy_project(tmp_path_factory.mktemp("project"))
    out = tmp_path_factory.mktemp("plain")
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="yes")
    assert done.returncode == 0, done.stdout
    return the_only("*.whl", out)


@pytest.fixture(scope="module")
def good(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, stripped."""
    return changed(plain, tmp_path_factory.mktemp("good"), strip)


def changed(wheel: Path, place: Path, *changes: Change) -> Path:
    directory = unpack(wheel, place / "inside")
    for change in changes:
        change(directory)
    return pack(directory, place)


def strip(directory: Path) -> None:
    subprocess.run(["strip", "--strip-all", *directory.rglob("*.so")], check=True)


def without_the_extension(directory: Path) -> None:
    (directory / library()).unlink()


def wrongly_built(place: Path, *directives: str, **environment: str) -> Change:
    """Build it with directives of Cython's added, and put that in the place of the good one.

    What is not optimised is larger, and made in half of the time.
    """

    def change(directory: Path) -> None:
        tree = copy_project(place / "tree")
        setup = tree / "setup.py"
        source, count = re.subn(
            r"(compiler_directives=\{.*?)\}", rf"\1, {', '.join(directives)}}}", setup.read_text()
        )
        assert count == 1
        setup.write_text(source)
        environment["CFLAGS"] = "-O0 -DNDEBUG"
        environment["FASTCHAT_BUILD_EXTENSION"] = "yes"  # which does not load it
        done = run("setup.py", "build_ext", "--inplace", cwd=tree, environment=environment)
        assert done.returncode == 0, done.stdout
        shutil.copyfile(tree / "src" / library(), directory / library())

    return change


def renumbered(version: str) -> Change:
    """Make it a wheel of another version."""

    def change(directory: Path) -> None:
        (described,) = directory.glob("*.dist-info")
        for path, line in (
            (directory / "fastchat" / "__init__.py", '__version__ = "{}"'),
            (described / "METADATA", "Version: {}"),
        ):
            pattern = "(?m)^" + re.escape(line).replace(r"\{\}", ".*") + "$"
            text, count = re.subn(pattern, line.format(version), path.read_text("utf-8"))
            assert count == 1
            path.write_text(text, "utf-8")
        described.rename(directory / f"fast_asynchat-{version}.dist-info")

    return change


def edited(name: str, pattern: str, replacement: str) -> Change:
    """Replace the one line of a file of the description that matches."""

    def change(directory: Path) -> None:
        (path,) = directory.glob(f"*.dist-info/{name}")
        text, count = re.subn(f"(?m)^{pattern}\n", replacement, path.read_text("utf-8"))
        assert count == 1
        path.write_text(text, "utf-8")

    return change


def failures(wheel: Path, place: Path) -> set[str]:
    """Install the wheel and run the proof; returns the tests that failed."""
    installed = install(wheel, place / "installed")
    done = subprocess.run(
        [sys.executable, *PYTEST, "--wheel", wheel, *UNTIMED],
        cwd=ROOT,
        env=clean_environment({"PYTHONPATH": str(installed)}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = set(
        re.findall(r"^(?:FAILED|ERROR) tests/wheel/\w+\.py::(\S+)", done.stdout, re.MULTILINE)
    )
    assert bool(found) == bool(done.returncode), done.stdout
    assert re.search(r"\d+ passed", done.stdout)
    return found


def test_a_good_wheel_passes(good: Path, tmp_path: Path) -> None:
    assert failures(good, tmp_path) == set()


def test_a_pure_wheel_passes(tmp_path: Path) -> None:
    tree = copy_project(tmp_path / "tree")
    done = build("build_wheel", tree, tmp_path, FASTCHAT_BUILD_EXTENSION="no")
    assert done.returncode == 0, done.stdout
    pure = the_only("*.whl", tmp_path)
    assert failures(pure, tmp_path) == set()
    # For one Python, it would leave the others without.
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-none-any"
    change = edited("WHEEL", "Tag: .*", f"Tag: {tag}\n")
    narrow = changed(pure, tmp_path / "narrow", change)
    assert failures(narrow, tmp_path / "narrow") == {"test_tags_agree"}


def test_for_any_python(good: Path, tmp_path: Path) -> None:
    wrong = changed(good, tmp_path, edited("METADATA", "Requires-Python: .*", ""))
    assert failures(wrong, tmp_path) == {"test_name_and_metadata_agree"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="no other machine is so old")
def test_for_an_older_linux_by_its_old_name(good: Path, tmp_path: Path) -> None:
    own = "-".join(good.name.split("-")[2:4])
    change = edited("WHEEL", "Tag: .*", f"Tag: {own}-manylinux1_x86_64\n")
    found = failures(changed(good, tmp_path, change), tmp_path)
    assert "test_extension_is_for_the_linux_that_the_tag_says" in found


def test_without_the_extension(good: Path, tmp_path: Path) -> None:
    found = failures(changed(good, tmp_path, without_the_extension), tmp_path)
    assert {
        "test_package_and_extension_and_nothing_else",
        "test_compiled_is_there_when_it_is_asked_for",
        "test_nothing_is_traced",
    } < found
    if AUTOMATIC == "cython":
        assert "test_import_says_nothing" in found


def test_traced(good: Path, tmp_path: Path) -> None:
    wrong = wrongly_built(tmp_path, "'linetrace': True", CPPFLAGS="-DCYTHON_TRACE=1")
    found = failures(changed(good, tmp_path, wrong, strip), tmp_path)
    assert found - LARGER == {"test_nothing_is_traced"}


def test_unstripped(plain: Path, tmp_path: Path) -> None:
    found = failures(plain, tmp_path)
    assert found == {"test_extension_is_stripped"}


def test_with_assertions(good: Path, tmp_path: Path) -> None:
    wrong = wrongly_built(tmp_path, CPPFLAGS="-UNDEBUG")
    found = failures(changed(good, tmp_path, wrong, strip), tmp_path)
    assert found - LARGER == {"test_extension_has_no_assertions"}


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="has a GIL anyway")
def test_enabling_the_gil(good: Path, tmp_path: Path) -> None:
    wrong = wrongly_built(tmp_path, "'freethreading_compatible': False")
    found = failures(changed(good, tmp_path, wrong, strip), tmp_path)
    assert "test_compiled_modules_leave_the_gil_off" in found


def test_other_tags_than_the_name(good: Path, tmp_path: Path) -> None:
    wrong = good.name.replace("linux_", "manylinux_2_5_")
    (tmp_path / wrong).write_bytes(good.read_bytes())
    found = failures(tmp_path / wrong, tmp_path)
    assert "test_tags_agree" in found
    assert "test_extension_is_for_the_linux_that_the_tag_says" in found


def test_two_versions_side_by_side(good: Path, tmp_path: Path) -> None:
    """Each in its own place, in processes that run at the same time."""
    other = changed(good, tmp_path, renumbered("9.9.9"))
    places = {
        "9.9.9": install(other, tmp_path / "other"),
        good.name.split("-")[1]: install(good, tmp_path / "good"),
    }
    program = (
        "import fastchat; from importlib.metadata import version; print(fastchat.__version__,"
        "version('fast-asynchat'), fastchat.implementation, flush=True); input()"
    )
    running = {
        number: subprocess.Popen(
            [sys.executable, "-c", program],
            env=clean_environment({"PYTHONPATH": str(place), "FASTCHAT_IMPLEMENTATION": "cython"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, place in places.items()
    }
    for number, process in running.items():
        assert process.stdout is not None
        assert process.stdout.readline() == f"{number} {number} cython\n"
    for process in running.values():
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
