"""FASTCHAT_BUILD_EXTENSION: what each value does, above all where the extension cannot be built.

What is broken there is a stand-in: a script in the compiler's place, or a few lines that run first
in each Python of the build.
"""

import re
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.building import ROOT, build, copy_project, run, the_only

pytestmark = [
    pytest.mark.build,
    pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="only CPython has compiled modules"
    ),
]

# A compiler that is not there.  Windows looks for its own in the registry, whatever CC says.
NO_COMPILER = {"CC": "/nonexistent/cc"}
needs_cc = pytest.mark.skipif(sys.platform == "win32", reason="CC means nothing there")

BANNER = "fastchat: THE COMPILED MODULES WERE NOT BUILT"
FALLBACK = rf"-cp{sys.version_info.major}{sys.version_info.minor}-none-(?!any)\w+\.whl"

# Shell scripts that get the compiler's arguments.
FAILS = "echo 'fatal error: it is broken' >&2; exit 1"
DIES = "kill -SEGV $$"
WRITES_RUBBISH = """
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then echo rubbish >"$2"; fi
    shift
done
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "tree")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    directory.mkdir()
    return directory


@pytest.fixture
def no_cython(tmp_path: Path) -> dict[str, str]:
    """An environment in which importing Cython fails, as where it is not installed."""
    package = tmp_path / "hidden" / "Cython"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'Cython'\")")
    return {"PYTHONPATH": str(package.parent)}


def compiler(directory: Path, script: str) -> dict[str, str]:
    """The environment in which a shell script is the compiler and the linker."""
    path = directory / "cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"CC": str(path), "LDSHARED": f"{path} -shared"}


def at_start(directory: Path, code: str) -> dict[str, str]:
    """The environment in which *code* runs first in each Python."""
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(directory)}


def implementation_in(directory: Path) -> str:
    """Ask the fastchat in a directory, and no other, which implementation it runs."""
    ask = (
        "import sys; sys.path.insert(0, sys.argv[1]); import fastchat;"
        "print(fastchat.implementation, fastchat.__file__)"
    )
    done = run("-I", "-c", ask, directory)
    assert done.returncode == 0, done.stdout
    implementation, file = done.stdout.split(maxsplit=1)
    assert Path(file).is_relative_to(directory)
    return implementation


@needs_cc
def test_install_without_a_compiler_works_and_says_so(tree: Path, out: Path) -> None:
    done = run(
        *("-m", "pip", "install", "-v", "--no-build-isolation", "--no-index", "--no-deps"),
        *("--target", out, tree),
        environment=NO_COMPILER,
    )
    assert done.returncode == 0, done.stdout
    assert BANNER in done.stdout
    assert "/nonexistent/cc" in done.stdout.partition(BANNER)[2]
    # The line that is left of all this when pip is not asked to be verbose.
    assert re.search(rf"Created wheel for fast-asynchat: filename=\S*{FALLBACK}", done.stdout)
    assert not list(out.rglob("*.so"))
    assert implementation_in(out) == "python"


@needs_cc
def test_stale_shared_object_is_not_shipped(tree: Path, out: Path) -> None:
    # As after a build that worked and a change that does not: what lies in build/ is packed.
    probe = (
        "import sysconfig; from setuptools import Distribution;"
        "build = Distribution().get_command_obj('build'); build.has_ext = True;"
        "build.distribution.has_ext_modules = lambda: True; build.ensure_finalized();"
        "print(build.build_lib, sysconfig.get_config_var('EXT_SUFFIX'))"
    )
    found = run("-c", probe, cwd=tree)
    assert found.returncode == 0, found.stdout
    build_lib, suffix = found.stdout.split()
    package = tree / build_lib / "fastchat"
    stale = [package / f"_scanner{suffix}", package / "_core" / f"watch{suffix}"]
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stale")
    done = build("build_wheel", tree, out, **NO_COMPILER)
    assert done.returncode == 0, done.stdout
    assert not [path for path in stale if path.exists()]
    assert re.search(FALLBACK, the_only("*.whl", out).name)


@needs_cc
def test_in_place_stale_shared_objects_go(tree: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    stale = tree / "src" / "fastchat" / "_core" / f"watch{suffix}"
    stale.write_bytes(b"stale")
    done = run("setup.py", "build_ext", "--inplace", cwd=tree, environment=NO_COMPILER)
    assert done.returncode == 0, done.stdout
    assert BANNER in done.stdout
    assert not list((tree / "src").rglob(f"*{suffix}"))


def test_editable_without_the_extension_runs_none_of_an_earlier_build(
    tree: Path, out: Path
) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    stale = tree / "src" / "fastchat" / "_core" / f"watch{suffix}"
    stale.write_bytes(b"stale")
    (tree / "src" / "fastchat" / f"_scanner{suffix}").write_bytes(b"stale")
    wheel = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="no")
    assert wheel.returncode == 0, wheel.stdout
    assert stale.exists()  # nor is it in the wheel, which needs nothing of it
    done = build("build_editable", tree, out, FASTCHAT_BUILD_EXTENSION="no")
    assert done.returncode == 0, done.stdout
    assert not list((tree / "src").rglob(f"*{suffix}"))
    assert implementation_in(tree / "src") == "python"


@needs_cc
def test_yes_without_a_compiler_fails(tree: Path, out: Path) -> None:
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="yes", **NO_COMPILER)
    assert done.returncode != 0
    assert BANNER not in done.stdout
    # What pip shows last: why, what to install, and how to go on without.
    told = done.stdout.partition("fastchat: the compiled modules were not built")[2]
    assert "/nonexistent/cc" in told
    assert "a C compiler and Python's headers" in told
    assert "FASTCHAT_BUILD_EXTENSION=no does without them" in told
    assert "Traceback" not in done.stdout
    assert not list(out.iterdir())


def test_without_cython_the_package_is_built_without_the_extension(
    tree: Path, out: Path, no_cython: dict[str, str]
) -> None:
    done = build("build_wheel", tree, out, **no_cython)
    assert done.returncode == 0, done.stdout
    assert BANNER in done.stdout
    assert "No module named 'Cython'" in done.stdout.partition(BANNER)[2]
    assert re.search(FALLBACK, the_only("*.whl", out).name)


def test_yes_without_cython_fails(tree: Path, out: Path, no_cython: dict[str, str]) -> None:
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="yes", **no_cython)
    assert done.returncode != 0
    assert "No module named 'Cython'" in done.stdout


@pytest.mark.parametrize("source", ["_scanner.pyx", "_core/passes.pxd"])
def test_source_that_cython_refuses(tree: Path, out: Path, source: str) -> None:
    (tree / "src" / "fastchat" / source).write_text("cdef int f(:\n")
    done = build("build_wheel", tree, out)
    assert done.returncode == 0, done.stdout
    assert BANNER in done.stdout
    assert re.search(FALLBACK, the_only("*.whl", out).name)


@pytest.mark.parametrize("value", ["1", "true", "Yes", "no "])
def test_other_values_are_refused(tree: Path, out: Path, value: str) -> None:
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION=value)
    assert done.returncode != 0
    assert f"FASTCHAT_BUILD_EXTENSION is {value!r}" in done.stdout
    assert "'yes', 'no' or unset" in done.stdout


def test_empty_is_unset(tree: Path, out: Path, no_cython: dict[str, str]) -> None:
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="", **no_cython)
    assert done.returncode == 0, done.stdout
    assert BANNER in done.stdout


@pytest.mark.parametrize("name", ["PyPy", "GraalVM"])  # as they call themselves
def test_outside_cpython_yes_means_no(tree: Path, out: Path, tmp_path: Path, name: str) -> None:
    # PyPy could compile it, and would run it slower than the Python twin.
    disguise = at_start(
        tmp_path, f"import platform; platform.python_implementation = lambda: {name!r}"
    )
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="yes", **disguise)
    assert done.returncode == 0, done.stdout
    assert "fastchat: building without compiled modules" in done.stdout
    assert the_only("*.whl", out).name.endswith("-py3-none-any.whl")


@needs_cc
def test_sanitizer_reaches_the_compiler(tree: Path, out: Path) -> None:
    # It fails, after saying what it would have run.
    done = build("build_wheel", tree, out, FASTCHAT_SANITIZE="address", **NO_COMPILER)
    (command,) = re.findall(r"^.*/nonexistent/cc .*_scanner\.c .*$", done.stdout, re.MULTILINE)
    options = "-fsanitize=address -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=all"
    assert command.endswith(f" {options} -fno-wrapv")


@needs_cc
def test_debug_information_that_cflags_ask_for_is_made(tree: Path, out: Path) -> None:
    done = build("build_wheel", tree, out, CFLAGS="-O2 -g -DMINE", **NO_COMPILER)
    (command,) = re.findall(r"^.*/nonexistent/cc .*_scanner\.c .*$", done.stdout, re.MULTILINE)
    assert "-g0" not in command.partition("-DMINE")[2].split()


@needs_cc
def test_what_was_compiled_before_one_failed_is_not_shipped(tree: Path, out: Path) -> None:
    source = tree / "src" / "fastchat" / "_sysio.pyx"
    source.write_text(source.read_text().replace("#include <poll.h>", "#error no"))
    done = build("build_wheel", tree, out)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(BANNER) == 1
    wheel = the_only("*.whl", out)
    assert re.search(FALLBACK, wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".pyd"))]


@needs_cc
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(FAILS, r"/cc ended with status 1; what it said is above", id="fails"),
        pytest.param(DIES, r"/cc ended with status -11; ", id="dies"),
        pytest.param(
            WRITES_RUBBISH,
            r"what was compiled does not load: ImportError: .*_scanner",
            id="rubbish",
        ),
    ],
)
def test_broken_compiler(tree: Path, out: Path, tmp_path: Path, script: str, reason: str) -> None:
    done = build("build_wheel", tree, out, **compiler(tmp_path, script))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(BANNER) == 1
    assert re.search(reason, done.stdout.partition(BANNER)[2])
    assert re.search(FALLBACK, the_only("*.whl", out).name)


@needs_cc
def test_no_run_path_reaches_the_linker(tree: Path, out: Path, tmp_path: Path) -> None:
    # As one word and as two, of which the second alone would be a file to link.
    environment = compiler(tmp_path, WRITES_RUBBISH)
    environment["LDSHARED"] += " -Wl,-rpath,/one -Wl,-z,now"
    environment["LDFLAGS"] = "-Wl,-rpath -Wl,/two -Wl,-rpath=/three -L/four"
    done = build("build_wheel", tree, out, **environment)
    (command,) = re.findall(r"^(.*/cc -shared .*?) \S+\.o ", done.stdout, re.MULTILINE)
    given = [word for word in command.split() if word.startswith(("-Wl", "-L"))]
    assert given == ["-Wl,-z,now", "-L/four"]


# In each Python of the build, what is loaded from the directory for temporary files is refused, as
# where that is mounted noexec.
NO_EXECUTION = """
import os
from importlib.machinery import ExtensionFileLoader

create_module = ExtensionFileLoader.create_module

def create_elsewhere(self, spec):
    if spec.origin.startswith(os.environ["TMPDIR"]):
        raise ImportError(f"{spec.origin}: failed to map segment from shared object")
    return create_module(self, spec)

ExtensionFileLoader.create_module = create_elsewhere
"""


@needs_cc
def test_compiled_modules_are_loaded_where_that_may_be(
    tree: Path, out: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tree / "src" / "fastchat" / ".#_scanner.py").symlink_to("somebody@somewhere.4711")
    environment = at_start(tmp_path, NO_EXECUTION) | {"TMPDIR": str(temporary), "CFLAGS": "-O0"}
    done = build("build_wheel", tree, out, **environment)
    assert done.returncode == 0, done.stdout
    assert BANNER not in done.stdout
    # And nothing is left beside the objects, with which a build would grow.
    assert not list((tree / "build").glob("temp*/tmp*"))
    assert not list(temporary.iterdir())


@needs_cc
def test_missing_headers_are_named(tree: Path, out: Path, tmp_path: Path) -> None:
    hide = "import sysconfig; sysconfig.get_path = lambda name: '/nonexistent/include'"
    environment = compiler(tmp_path, FAILS) | at_start(tmp_path, hide)
    done = build("build_wheel", tree, out, **environment)
    assert done.returncode == 0, done.stdout
    reason = "Python's headers are missing, /nonexistent/include/Python.h above all"
    assert reason in done.stdout.partition(BANNER)[2]
    assert re.search(FALLBACK, the_only("*.whl", out).name)


def test_setuptools_that_is_too_old_is_refused(tree: Path, out: Path, tmp_path: Path) -> None:
    # pip looks at the version only where it makes an environment for the build.
    requires = (ROOT / "pyproject.toml").read_text()
    (first,) = set(re.findall(r'"setuptools>=(\d+)"', requires))
    old = f"{int(first) - 1}.9.1"
    aged = at_start(tmp_path, f"import setuptools; setuptools.__version__ = {old!r}")
    done = build("build_wheel", tree, out, **aged)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "setuptools" in line]
    assert line.startswith(f"fastchat: setuptools {old} cannot build this, {first} is the first")
    assert f"--upgrade 'setuptools>={first}'" in line
    assert not list(out.iterdir())


NO_DIRECTORY = "import pathlib; pathlib.Path('build').touch()"
# As on a full disk, where "No space left on device" has the place of "File too large".
NO_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))"


@pytest.mark.skipif(sys.platform == "win32", reason="no limit to the size of a file there")
@pytest.mark.parametrize(
    ("obstacle", "error"),
    [
        pytest.param(NO_DIRECTORY, "error: could not create 'build", id="no directory"),
        pytest.param(NO_ROOM, "File too large", id="no room"),
    ],
)
def test_tree_that_cannot_be_written_to(
    tree: Path, out: Path, tmp_path: Path, obstacle: str, error: str
) -> None:
    environment = at_start(tmp_path, obstacle)
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="no", **environment)
    assert done.returncode == 1
    assert error in done.stdout
    assert "fastchat: a build writes to the directory of its sources" in done.stdout
    assert "copy the sources" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege there")
def test_other_errors_of_files_are_no_matter_of_writing(tree: Path, out: Path) -> None:
    (tree / "src" / "fastchat" / "broken.py").symlink_to("nonexistent")
    done = build("build_wheel", tree, out, FASTCHAT_BUILD_EXTENSION="no")
    assert done.returncode == 1
    assert "error: can't copy" in done.stdout
    assert "Make them writable" not in done.stdout
