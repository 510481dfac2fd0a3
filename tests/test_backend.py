"""FASTCHAT_IMPLEMENTATION: which scanner each value means, also where the compiled one is missing.

A copy of the package stands for an installation without the extension, or with one that does not
load; everything else is asked of the installed package.  Each answer comes from a process of its
own, because the choice is made at the first import, and from ``choose`` in this one.
"""

from __future__ import annotations

import compileall
import importlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import fastchat
from fastchat import _backend
from tests.support.implementations import AUTOMATIC, load, without_fastchat

PACKAGE = Path(fastchat.__file__).parent

# Whether auto looks for the extension.
LOOKS = AUTOMATIC == "cython"

ASK = """
import fastchat
from fastchat import _backend, asynchat
held = asynchat.find_prefix_at_end(b"line\\r", b"\\r\\n")
print(fastchat.implementation, _backend.scanner.__name__, held)
print(fastchat.__file__)
"""

SCANNERS = {"cython": "fastchat._scanner", "python": "fastchat._scanner_py"}


def ask(value: str | None, path: Path = PACKAGE.parent) -> subprocess.CompletedProcess[str]:
    """Import the fastchat in the directory *path*, with a value of the variable."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    environment.pop(_backend.VARIABLE, None)
    if value is not None:
        environment[_backend.VARIABLE] = value
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK],
        env=environment,
        cwd=path,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_says(done: subprocess.CompletedProcess[str], implementation: str, path: Path) -> None:
    """It imported that implementation, from there, and said nothing else."""
    assert done.stderr == ""
    answer, file = done.stdout.splitlines()
    assert answer == f"{implementation} {SCANNERS[implementation]} 1"
    assert Path(file).parent.parent == path


def assert_fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """The import raised ImportError, whose text has all these words."""
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    for word in words:
        assert word in last


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A directory with a fastchat that has no extension."""
    copy = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "fastchat", ignore=copy)
    return tmp_path


@pytest.fixture
def broken(without: Path) -> Path:
    """A directory with a fastchat whose extension is no shared object."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    (without / "fastchat" / f"_scanner{suffix}").write_bytes(b"no shared object at all")
    return without


# ---------------------------------------------------------------------------------------------
# In a process of its own.
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", ["cython"])
@pytest.mark.parametrize("value", [None, "", "auto"], ids=["unset", "empty", "auto"])
def test_automatic_is_compiled(value: str | None, compiled: str) -> None:
    assert_says(ask(value), AUTOMATIC, PACKAGE.parent)


@pytest.mark.parametrize("value", ["cython", "python"])
def test_what_is_asked_for(value: str) -> None:
    assert_says(ask(value), value, PACKAGE.parent)


@pytest.mark.parametrize("value", ["Cython", "c", "python ", "auto,python", "1"])
def test_a_misspelt_value(value: str) -> None:
    done = ask(value)
    assert_fails(done, f"FASTCHAT_IMPLEMENTATION is {value!r}", "auto, cython or python")


@pytest.mark.parametrize("value", [None, "", "auto", "python"])
def test_absent_extension(value: str | None, without: Path) -> None:
    assert_says(ask(value, without), "python", without)


def test_absent_extension_that_is_asked_for(without: Path) -> None:
    done = ask("cython", without)
    assert_fails(done, "no compiled modules are installed", _backend._remedy())


@pytest.mark.skipif(not LOOKS, reason="elsewhere auto does not look for the extension")
@pytest.mark.parametrize("value", [None, "auto"])
def test_broken_extension(value: str | None, broken: Path) -> None:
    assert_fails(ask(value, broken), "_scanner")


def test_broken_extension_that_is_asked_for(broken: Path) -> None:
    assert_fails(ask("cython", broken), "_scanner")


def test_broken_extension_that_is_not_asked_for(broken: Path) -> None:
    assert_says(ask("python", broken), "python", broken)


@pytest.mark.parametrize("has_extension", [pytest.param(True, marks=pytest.mark.compiled), False])
@pytest.mark.parametrize("value", ["auto", "python"])
def test_a_package_without_source(value: str, has_extension: bool, tmp_path: Path) -> None:
    """As some put it into a container or a frozen program: bytecode in the place of source."""
    left_out = ["__pycache__"] if has_extension else ["__pycache__", "*.so", "*.pyd"]
    shutil.copytree(PACKAGE, tmp_path / "fastchat", ignore=shutil.ignore_patterns(*left_out))
    assert compileall.compile_dir(tmp_path, quiet=1, legacy=True)
    for source in tmp_path.rglob("*.py"):
        source.unlink()
    is_compiled = has_extension and value == "auto" and AUTOMATIC == "cython"
    assert_says(ask(value, tmp_path), "cython" if is_compiled else "python", tmp_path)


# Interrupts the first import of fastchat; imports it, throws it away, and imports it once more.
INTERRUPTED = """
import sys
from importlib import machinery

left = [KeyboardInterrupt]

def interrupting(exec_module):
    def exec(self, module):
        if module.__name__ == sys.argv[1] and left:
            raise left.pop()
        exec_module(self, module)
    return exec

for loader in (machinery.ExtensionFileLoader, machinery.SourceFileLoader):
    loader.exec_module = interrupting(loader.exec_module)
try:
    import fastchat
except KeyboardInterrupt:
    pass
else:
    sys.exit("it was not interrupted")
for _ in range(2):
    import fastchat
    core = {name: module for name, module in sys.modules.items() if name.startswith("fastchat._")}
    assert fastchat.implementation == "cython"
    assert core["fastchat._core.touch"].watches is core["fastchat._core.maps"].watches
    assert core["fastchat._core.pollers"].PollerLost is core["fastchat._core.passes"].PollerLost
    own = {"_accepting", "_backend", "_copying", "_properties", "_scanner"}  # of each import
    shared = core.keys() - {f"fastchat.{name}" for name in own}
    from fastchat import _backend
    assert shared == set(_backend._COMPANIONS), shared ^ set(_backend._COMPANIONS)
    assert all(_backend.scanner.COMPANIONS[name] is core[name] for name in shared)
    for name in [name for name in sys.modules if name.partition(".")[0] == "fastchat"]:
        del sys.modules[name]
print("good")
"""


@pytest.mark.compiled
@pytest.mark.parametrize(
    "at", ["fastchat._core.watch", "fastchat._core.passes", "fastchat._methods_c"]
)
def test_an_import_that_was_interrupted_leaves_one_of_each_module(at: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, at],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), _backend.VARIABLE: "cython"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", "good\n")


# Imports fastchat as Python, throws away all of it but its core, and imports it compiled.
MIXED = """
import os, sys
os.environ["FASTCHAT_IMPLEMENTATION"] = "python"
import fastchat
for name in [name for name in sys.modules if name.partition(".")[0] == "fastchat"]:
    if not name.startswith("fastchat._core."):
        del sys.modules[name]
os.environ["FASTCHAT_IMPLEMENTATION"] = "cython"
finders = list(sys.meta_path)
try:
    import fastchat
except ImportError as failure:
    print(failure)
assert sys.meta_path == finders
"""


@pytest.mark.compiled
def test_a_core_that_was_imported_as_python_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MIXED],
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert re.search(r"fastchat\._core\.\w+ was imported as Python before", done.stdout)


@pytest.mark.compiled
def test_one_shared_object_holds_all_that_is_compiled() -> None:
    compiled = load("cython")
    names = {name.removeprefix("fastchat._core.") for name in _backend._COMPILED}
    found = {compiled.core[name].__file__ for name in names & compiled.core.keys()}
    assert found == {compiled.scanner.__file__}
    assert Path(compiled.scanner.__file__).suffix in {".so", ".pyd"}


# Finds the package's modules in a directory that is on no path, and its extensions where they are.
OWN_FINDER = """
import importlib.machinery as machinery, os, sys

store = sys.argv[1]
seen = []

class Loader(machinery.SourceFileLoader):
    def get_code(self, name):
        seen.append(name)
        return super().get_code(name)

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.startswith("fastchat"):
            return None
        place = os.path.join(store, *name.split(".")[:-1])
        extensions = machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES
        sources = Loader, machinery.SOURCE_SUFFIXES
        return machinery.FileFinder(place, extensions, sources).find_spec(name)

sys.meta_path.insert(0, Finder)
import fastchat.asyncore
assert {"fastchat.asyncore", "fastchat._core.pollers", "fastchat._core.touch"} <= set(seen), seen
print(fastchat.implementation)
"""


@pytest.mark.parametrize("value", ["python", pytest.param("cython", marks=pytest.mark.compiled)])
def test_a_finder_of_the_programs_own_finds_the_core(value: str, tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "fastchat", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", OWN_FINDER, str(tmp_path)],
        env=os.environ | {_backend.VARIABLE: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stderr, done.stdout) == ("", f"{value}\n")


@pytest.mark.parametrize("value", [None, "cython"])
def test_extension_that_needs_what_is_missing(value: str | None, without: Path) -> None:
    # A ModuleNotFoundError, like that of an extension that is absent, but of another module.
    (without / "fastchat" / "_scanner.py").write_text("import fastchat._no_such_module")
    if value is None and not LOOKS:
        pytest.skip("elsewhere auto does not look for the extension")
    done = ask(value, without)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: No module named 'fastchat._no_such_module'"
    )


# ---------------------------------------------------------------------------------------------
# In subinterpreters, and without the GIL.
# ---------------------------------------------------------------------------------------------

INTERPRETERS = next(
    (name for name in ("_interpreters", "_xxsubinterpreters") if importlib.util.find_spec(name)),
    None,
)

# How to make a subinterpreter: those of 3.11 share the GIL, later ones may have their own.
MAKERS = {"default": "()", "isolated": "('isolated',)", "legacy": "('legacy',)"}

# A chat of a subinterpreter echoes a line; the file says which implementation did, or what failed.
SERVE = """
import socket
try:
    import fastchat
    from fastchat import asynchat, asyncore
    class Chat(asynchat.async_chat):
        def collect_incoming_data(self, data): self.data = data
        def found_terminator(self): self.push(self.data)
    near, far = socket.socketpair()
    chat = Chat(near)
    chat.set_terminator(b"\\n")
    far.sendall(b"hello\\n")
    far.settimeout(30)
    asyncore.loop(count=1, timeout=30)
    assert far.recv(100) == b"hello"
    chat.close()
    far.close()
    said = fastchat.implementation
except BaseException as failure:
    said = repr(failure)
with open(PATH, "w") as file:
    file.write(said)
"""

# Prints what that file says, and what the main interpreter got.
IN_EACH = """
import importlib, os, sys, tempfile
name, how, first, serve = sys.argv[1:]
interpreters = importlib.import_module(name)
if first == "main":
    import fastchat
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "said")
    try:
        made = interpreters.create(*eval(how))
    except Exception:
        sys.exit("there is no such kind")
    interpreters.run_string(made, f"PATH = {path!r}\\n{serve}")
    with open(path) as file:
        print(file.read())
    interpreters.destroy(made)
import fastchat
print(fastchat.implementation)
"""


def ask_each(how: str, first: str, value: str | None) -> list[str]:
    """What a subinterpreter that is made so gets, and what the main interpreter does.

    The main one imports fastchat before it or after it.
    """
    assert INTERPRETERS is not None
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    environment.pop(_backend.VARIABLE, None)
    if value is not None:
        environment[_backend.VARIABLE] = value
    done = subprocess.run(
        [sys.executable, "-c", IN_EACH, INTERPRETERS, MAKERS[how], first, SERVE],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.stderr == "there is no such kind\n":
        pytest.skip(f"this Python makes no subinterpreters of the kind {how}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


in_interpreters = pytest.mark.skipif(
    INTERPRETERS is None, reason="this Python has no subinterpreters"
)


@pytest.mark.parametrize("is_main", [True, False])
def test_where_the_interpreter_says_itself_whether_it_is_the_main_one(
    monkeypatch: pytest.MonkeyPatch, is_main: bool
) -> None:
    monkeypatch.setattr("_thread._is_main_interpreter", lambda: is_main, raising=False)
    assert _backend._is_main_interpreter() == is_main


@in_interpreters
@pytest.mark.parametrize("first", ["main", "other"])
@pytest.mark.parametrize("how", MAKERS)
@pytest.mark.parametrize("compiled", ["cython"])
def test_a_subinterpreter_serves(how: str, first: str, compiled: str) -> None:
    assert ask_each(how, first, None) == ["python", AUTOMATIC]


@in_interpreters
@pytest.mark.parametrize("first", ["main", "other"])
@pytest.mark.parametrize("value", ["python"])
def test_a_subinterpreter_serves_without_the_extension(first: str, value: str) -> None:
    assert ask_each("default", first, value) == [value, value]


@in_interpreters
@pytest.mark.parametrize("first", ["main", "other"])
@pytest.mark.parametrize("compiled", ["cython"])
def test_compiled_in_a_subinterpreter(first: str, compiled: str) -> None:
    # The variable is one for the whole process, and the extension one for one interpreter of it.
    assert ask_each("default", first, compiled) == ["python", compiled]


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL"
)
@pytest.mark.parametrize("choice", ["auto", "cython", "python"])
def test_without_the_gil_it_stays_off(choice: str, pytestconfig: pytest.Config) -> None:
    extension = not pytestconfig.getoption("--no-extension")
    if choice == "cython" and not extension:
        pytest.skip("no extension in this lane")
    code = "import sys, fastchat; print(fastchat.implementation, sys._is_gil_enabled())"
    environment = os.environ | {_backend.VARIABLE: choice}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "gil=0", "-c", code],
        env=environment | {"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout == f"{'python' if choice == 'auto' else choice} False\n"


# ---------------------------------------------------------------------------------------------
# In this process.
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def alone() -> Iterator[None]:
    """What ``choose`` imports is not what the rest of this process has."""
    with without_fastchat():
        yield


def hide_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the import of the compiled modules fail as that of an absent one does."""
    found = importlib.import_module

    def import_module(name: str) -> ModuleType:
        if name == SCANNERS["cython"]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return found(name)

    monkeypatch.setattr(_backend, "importlib", SimpleNamespace(import_module=import_module))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("choice", ["cython", "python"])
def test_choose(choice: str) -> None:
    scanner, name, obstacle = _backend.choose(choice)
    assert (scanner.__name__, name) == (SCANNERS[choice], choice)
    assert obstacle == ("" if name == "cython" else "FASTCHAT_IMPLEMENTATION asks for it")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("compiled", ["cython"])
def test_choose_auto(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "cpython")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    assert _backend.choose("auto")[1] == compiled


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("compiled", ["cython"])
def test_choose_elsewhere_than_on_cpython(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert _backend.choose("auto")[1:] == ("python", "the compiled modules are for CPython")
    # Whoever asks for it gets it.
    assert _backend.choose(compiled)[1] == compiled


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("compiled", ["cython"])
def test_choose_without_the_gil(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert _backend.choose("auto")[1:] == ("python", _backend._NO_GIL)
    # Whoever asks for it gets it.
    assert _backend.choose(compiled)[1] == compiled


def only_these(monkeypatch: pytest.MonkeyPatch, **running: str) -> None:
    """Let these be the modules that know interpreters, each with the one it says is running."""
    found = importlib.import_module

    def import_module(name: str) -> object:
        if "interpreters" not in name:
            return found(name)
        if name not in running:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return SimpleNamespace(get_current=lambda: running[name], get_main=lambda: "main")

    monkeypatch.setattr(sys.implementation, "name", "cpython")
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)
    monkeypatch.setattr(_backend, "_thread", SimpleNamespace())  # which says it from 3.12 on
    monkeypatch.setattr(_backend, "importlib", SimpleNamespace(import_module=import_module))


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("module", ["_interpreters", "_xxsubinterpreters"])
@pytest.mark.parametrize("compiled", ["cython"])
def test_choose_by_interpreter(module: str, compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_these(monkeypatch, **{module: "main"})
    assert _backend.choose("auto")[1] == compiled
    only_these(monkeypatch, **{module: "another"})
    assert _backend.choose("auto")[1:] == ("python", "this is a subinterpreter")
    assert _backend.choose(compiled)[1] == "python"


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("compiled", ["cython"])
def test_choose_where_nobody_knows(compiled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_these(monkeypatch)
    assert _backend.choose("auto")[1] == compiled


@pytest.mark.parametrize("choice", ["", "Auto", "pypy"])
def test_choose_nonsense(choice: str) -> None:
    with pytest.raises(ImportError, match="it may be auto, cython or python") as caught:
        _backend.choose(choice)
    assert repr(choice) in str(caught.value)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("choice", ["auto", "python"])
def test_choose_without_the_extension(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_extension(monkeypatch)
    scanner, name, obstacle = _backend.choose(choice)
    assert (scanner.__name__, name) == (SCANNERS["python"], "python")
    assert ("no compiled modules are installed" in obstacle) == (choice == "auto" and LOOKS)


@pytest.mark.parametrize("python", ["cpython", "pypy"])  # for which none can be built
def test_choose_an_absent_extension(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", python)
    hide_extension(monkeypatch)
    with pytest.raises(ImportError, match="no compiled modules are installed") as caught:
        _backend.choose("cython")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert ("FASTCHAT_BUILD_EXTENSION=yes" in str(caught.value)) == (python == "cpython")
    # pip keeps the wheel of a build that failed, and would install that again.
    assert ("--no-cache-dir" in str(caught.value)) == (python == "cpython")
    # "Not found" is what others pass over.
    assert not isinstance(caught.value, ModuleNotFoundError)


@pytest.mark.parametrize("choice", ["auto", "cython"])
@pytest.mark.parametrize(
    "failure",
    [
        ModuleNotFoundError("No module named 'other'", name="other"),
        ImportError("undefined symbol", name=SCANNERS["cython"]),
    ],
    ids=["needs another module", "does not load"],
)
def test_choose_a_broken_extension(
    choice: str, failure: ImportError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_module(name: str) -> ModuleType:
        raise failure

    monkeypatch.setattr(sys.implementation, "name", "cpython")
    monkeypatch.setattr(_backend, "importlib", SimpleNamespace(import_module=import_module))
    with pytest.raises(ImportError) as caught:
        _backend.choose(choice)
    assert caught.value is failure


def test_the_package_says_what_was_chosen() -> None:
    assert fastchat.implementation == _backend.implementation
    assert _backend.scanner.__name__ == SCANNERS[fastchat.implementation]
