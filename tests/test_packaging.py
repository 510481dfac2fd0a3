"""What a user gets: the sdist is the tree, a wheel is the package and at most one shared object.

Each is built once, the wheels from the sdist, in the way releases are.
"""

import email
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.building import ADDED, ROOT, build, copy_project, project_files, run, the_only
from tests.support.implementations import AUTOMATIC
from tests.support.wheels import Wheel, described, library, package_files

pytestmark = pytest.mark.build

CPYTHON = sys.implementation.name == "cpython"
compiled_only = pytest.mark.skipif(not CPYTHON, reason="only CPython has compiled modules")

# Python's own flags ask for debug information, which would go well over this.
MOST_BYTES = 2_500_000


@dataclass(frozen=True)
class Built(Wheel):
    """A wheel and what was said while it was made."""

    log: str


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = copy_project(tmp_path_factory.mktemp("project"))
    # What lies about in a tree that was built in, and must stay behind.
    for litter in ("_scanner.c", "_scanner.cpython-311-x86_64-linux-gnu.so", "_scanner.pyd"):
        (tree / "src" / "fastchat" / litter).write_text("litter")
        (tree / "src" / "fastchat" / "_core" / litter.replace("_scanner", "watch")).write_text("")
    (tree / "src" / "fastchat" / "__pycache__").mkdir()
    (tree / "src" / "fastchat" / "__pycache__" / "x.cpython-311.pyc").write_text("litter")
    out = tmp_path_factory.mktemp("sdist")
    # "no" is the hard case: setuptools adds the sources of an extension, and here there is none.
    done = build("build_sdist", tree, out, FASTCHAT_BUILD_EXTENSION="no")
    assert done.returncode == 0, done.stdout
    return the_only("*.tar.gz", out)


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(sdist, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def pure(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("pure")
    done = build("build_wheel", unpacked, out, FASTCHAT_BUILD_EXTENSION="no")
    assert done.returncode == 0, done.stdout
    return Built(the_only("*.whl", out), done.stdout)


@pytest.fixture(scope="module")
def compiled(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return compile_wheel(unpacked, tmp_path_factory.mktemp("compiled"))


def unpack(sdist: Path, into: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    return the_only("fast_asynchat-*", into)


def compile_wheel(tree: Path, out: Path, **environment: str) -> Built:
    """Build a wheel as releases are, with the times of its files given."""
    wanted = {"FASTCHAT_BUILD_EXTENSION": "yes", "SOURCE_DATE_EPOCH": "1750000000"}
    done = build("build_wheel", tree, out, **wanted, **environment)
    assert done.returncode == 0, done.stdout
    return Built(the_only("*.whl", out), done.stdout)


def try_out(wheel: Path, where: Path) -> str:
    """Install a wheel into a fresh environment and ask it which implementation it runs."""
    venv.create(where, with_pip=False, symlinks=os.name != "nt")
    python = where / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = run("-m", "pip", "--python", python, "install", "--no-index", wheel)
    assert done.returncode == 0, done.stdout
    ask = "import fastchat; print(fastchat.implementation, fastchat.__file__)"
    asked = subprocess.run([python, "-I", "-c", ask], check=True, capture_output=True, text=True)
    implementation, file = asked.stdout.split(maxsplit=1)
    assert Path(file).is_relative_to(where)
    return implementation


# The sdist


def test_sdist_is_the_tree(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
    names = {member.name.partition("/")[2] for member in members}
    assert {name for name in names if not ADDED.fullmatch(name)} == set(project_files())


def test_sdist_has_what_building_and_testing_need(sdist: Path) -> None:
    # By name, since the comparison with the tree would be content with losing a file in both.
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "Makefile",
        "README.md",
        "bench",
        "docs",
        "examples",
        "noxfile.py",
        "pyproject.toml",
        "setup.py",
        "src/fastchat/_core/watch.pxd",
        "src/fastchat/_core/watch.py",
        "src/fastchat/_method.pxd",
        "src/fastchat/_method.pyx",
        "src/fastchat/_scanner.pyi",
        "src/fastchat/_scanner.pyx",
        "src/fastchat/_scanner_py.py",
        "src/fastchat/py.typed",
        "tests/conftest.py",
        "tests/test_packaging.py",
        "tools/demo.py",
        "typings/asyncore.pyi",
    }


def test_scripts_stay_executable(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        (script,) = (member for member in archive.getmembers() if member.name.endswith("/.ci/run"))
    assert script.mode & 0o111


# The pure wheel


def test_pure_wheel_is_for_everyone(pure: Built) -> None:
    assert pure.path.name.endswith("-py3-none-any.whl")
    assert "fastchat: building without compiled modules" in pure.log


def test_pure_wheel_holds_the_package_and_nothing_else(pure: Built) -> None:
    assert pure.names - described(pure.names) == package_files()


def test_pure_wheel_runs(pure: Built, tmp_path: Path) -> None:
    assert try_out(pure.path, tmp_path) == "python"


def test_metadata(pure: Built) -> None:
    metadata = email.message_from_bytes(pure.read(r".*\.dist-info/METADATA"))
    initial = (ROOT / "src" / "fastchat" / "__init__.py").read_text()
    (version,) = re.findall(r'^__version__ = "([^"]+)"$', initial, re.MULTILINE)
    assert metadata["Name"] == "fast-asynchat"
    assert metadata["Version"] == version
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata.get_all("Provides-Extra") == ["prometheus"]
    (wanted,) = metadata.get_all("Requires-Dist", [])
    assert re.fullmatch(r"prometheus_client>=[0-9.]+; extra == \"prometheus\"", wanted)
    assert metadata["Description-Content-Type"] == "text/markdown"


# The compiled wheel


@compiled_only
def test_compiled_wheel_is_for_this_interpreter(compiled: Built) -> None:
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    machine = re.sub(r"[-.]", "_", sysconfig.get_platform())
    assert re.search(rf"-{tag}-{tag}t?-{re.escape(machine)}\.whl$", compiled.path.name)
    assert "fastchat: building with compiled modules" in compiled.log


@compiled_only
def test_compiled_wheel_adds_one_shared_object(compiled: Built) -> None:
    added = compiled.names - described(compiled.names) - package_files()
    assert added == {library()}
    assert package_files() < compiled.names


@compiled_only
def test_compiled_wheel_runs(compiled: Built, tmp_path: Path) -> None:
    assert try_out(compiled.path, tmp_path) == AUTOMATIC


@compiled_only
def test_shared_object_is_small_and_without_debug_information(compiled: Built) -> None:
    shared = compiled.read(re.escape(library()))
    assert len(shared) < MOST_BYTES
    assert b".debug_info" not in shared


@compiled_only
@pytest.mark.skipif(os.name == "nt", reason="reads the command line of a Unix compiler")
def test_compiler_flags_are_the_interpreters(compiled: Built) -> None:
    (command,) = re.findall(r"^.* -c .*_scanner\.c .*$", compiled.log, re.MULTILINE)
    given = shlex.split(command)
    # A build that sets CFLAGS replaces these, and ships something slow that passes every test.
    for flag in shlex.split(sysconfig.get_config_var("CFLAGS")):
        if flag.startswith(("-O", "-D", "-f")):
            assert flag in given
    if not sysconfig.get_config_var("Py_DEBUG"):
        assert [flag for flag in given if flag.startswith("-O")][-1] in ("-O2", "-O3")
        assert "-DNDEBUG" in given
    assert not re.search(r"TRACE|-Werror|-march=native|-ffast-math|-fsanitize", command)


@compiled_only
def test_building_leaves_no_generated_source_in_the_tree(compiled: Built, unpacked: Path) -> None:
    left = {path.suffix for path in (unpacked / "src" / "fastchat").iterdir()}
    assert left <= {"", ".py", ".pxd", ".pyi", ".pyx", ".typed"}


@compiled_only
def test_compiled_wheel_is_the_same_when_it_is_built_again(
    sdist: Path, compiled: Built, tmp_path: Path
) -> None:
    # In another directory, at another time, with another order of sets.
    tree = unpack(sdist, tmp_path / "a place with a longer name")
    again = compile_wheel(tree, tmp_path, PYTHONHASHSEED="1", TZ="Asia/Tokyo")
    with zipfile.ZipFile(compiled.path) as one, zipfile.ZipFile(again.path) as other:
        assert one.namelist() == other.namelist()
        assert [name for name in one.namelist() if one.read(name) != other.read(name)] == []
    assert again.path.read_bytes() == compiled.path.read_bytes()
