"""``python -m fastchat run``: the program cannot tell.

Most tests run one program twice, as ``python PROGRAM`` and as ``python -m fastchat run PROGRAM``,
and compare all that comes out: exit status, both outputs, and what the program sees of itself.
What Python itself says about a module that it runs, the lines of ``runpy`` in tracebacks, does not
count.  The tests at the end call ``main`` in this process.
"""

from __future__ import annotations

import errno
import io
import json
import os
import py_compile
import re
import shutil
import subprocess
import sys
import textwrap
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

import fastchat
from fastchat import aliases, cli
from tests.support.channels import counts_references
from tests.support.implementations import FASTCHAT

# Relative entries would mean another directory for the programs, which run elsewhere.
SEARCH_PATH = os.pathsep.join(
    os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path
)

# Prints what a program can see of itself.
SEEN = """
'''The doc.'''
import json, sys

def annotated(x: int): pass

if __name__ == "__main__":
    print(json.dumps({
        "argv": sys.argv,
        "path": sys.path,
        "name": __name__,
        "doc": __doc__,
        "file": __file__,
        "package": __package__,
        "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
        "loader": [type(__loader__).__name__, getattr(__loader__, "name", "")],
        "builtins": type(__builtins__).__name__,
        "code": sys._getframe().f_code.co_filename,
        "cached": globals().get("__cached__"),
        "globals": sorted(globals()),
        "annotations": repr(annotated.__annotations__),
        "is the main module": sys.modules["__main__"].__dict__ is globals(),
        "has the default hook": sys.excepthook is sys.__excepthook__,
        "stdin": sys.stdin.read(),
    }, indent=1))
"""


class Outcome(NamedTuple):
    status: int
    output: str
    errors: str


# Its frames; where it is not frozen, with lines of its source, and marks below some.
RUNPY = re.compile(r'^  File "(<frozen runpy>|.*/runpy\.py)".*\n(    .*\n)*', re.MULTILINE)


def python(*arguments: str, cwd: Path, stdin: str = "", **environment: str) -> Outcome:
    """What comes of ``python`` and some arguments."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": SEARCH_PATH} | environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    errors = RUNPY.sub("", done.stderr)
    return Outcome(done.returncode, done.stdout, re.sub(r"0x[0-9a-f]+", "0x...", errors))


def run(*words: str, cwd: Path, stdin: str = "", **environment: str) -> Outcome:
    """What comes of ``python -m fastchat run`` and some words."""
    return python("-m", "fastchat", "run", *words, cwd=cwd, stdin=stdin, **environment)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


# ---------------------------------------------------------------------------------------------
# What the program sees.
# ---------------------------------------------------------------------------------------------


def a_script(directory: Path) -> str:
    write(directory / "program.py", SEEN)
    return "program.py"


def a_script_further_down(directory: Path) -> str:
    write(directory / "below" / "program.py", SEEN)
    return os.path.join("below", "program.py")


def a_script_by_its_full_name(directory: Path) -> str:
    return str(write(directory / "below" / "program.py", SEEN))


def a_script_with_dots_before_it(directory: Path) -> str:
    write(directory / "below" / "program.py", SEEN)
    return os.path.join(".", "below", "..", "below", ".", "program.py")


def a_directory_with_dots_before_it(directory: Path) -> str:
    return os.path.join(".", "..", directory.name, a_directory(directory), "")


def a_script_without_a_suffix(directory: Path) -> str:
    write(directory / "program", SEEN)
    return "program"


def a_link_to_a_script(directory: Path) -> str:
    target = write(directory / "target" / "program.py", SEEN)
    (directory / "link.py").symlink_to(target)
    return "link.py"


def a_compiled_script(directory: Path) -> str:
    source = write(directory / "program.py", SEEN)
    py_compile.compile(str(source), str(directory / "program.pyc"), doraise=True)
    return "program.pyc"


def a_directory(directory: Path) -> str:
    write(directory / "application" / "__main__.py", SEEN)
    return "application"


def a_zip_file(directory: Path) -> str:
    with zipfile.ZipFile(directory / "application.zip", "w") as file:
        file.writestr("__main__.py", SEEN)
    return "application.zip"


PLACES = [
    a_script,
    a_script_further_down,
    a_script_by_its_full_name,
    a_script_with_dots_before_it,
    a_directory_with_dots_before_it,
    a_script_without_a_suffix,
    a_link_to_a_script,
    a_compiled_script,
    a_directory,
    a_zip_file,
]

ARGUMENTS = ["one", "-c", "--help", "-m", "--", "", "two words"]


def assert_same(words: list[str], cwd: Path, *options: str, stdin: str = "") -> dict[str, Any]:
    """Run it both ways, with *options* for the interpreter; it sees the same, which is returned."""
    plain = python(*options, *words, cwd=cwd, stdin=stdin)
    here = python(*options, "-m", "fastchat", "run", *words, cwd=cwd, stdin=stdin)
    assert here == plain
    assert plain.status == 0
    seen: dict[str, Any] = json.loads(plain.output)
    return seen


@pytest.mark.parametrize("place", PLACES)
def test_a_program_sees_what_it_always_saw(place: Callable[[Path], str], tmp_path: Path) -> None:
    words = [place(tmp_path), *ARGUMENTS]
    seen = assert_same(words, tmp_path, stdin="the input\n")
    assert seen["argv"] == words
    assert seen["stdin"] == "the input\n"


@pytest.mark.parametrize("name", ["module", "package", "package.module"])
def test_a_module_sees_what_it_always_saw(name: str, tmp_path: Path) -> None:
    write(tmp_path / "module.py", SEEN)
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "__main__.py", SEEN)
    write(tmp_path / "package" / "module.py", SEEN)
    seen = assert_same(["-m", name, *ARGUMENTS], tmp_path)
    assert seen["argv"][1:] == ARGUMENTS


@pytest.mark.parametrize("place", [a_script, a_directory])
def test_without_the_programs_directory_on_the_path(
    place: Callable[[Path], str], tmp_path: Path
) -> None:
    assert_same([place(tmp_path)], tmp_path, "-P")


def test_a_module_without_the_current_directory_on_the_path(tmp_path: Path) -> None:
    # Found through PYTHONPATH, whose first entry must not be taken for the current directory.
    write(tmp_path / "library" / "module.py", SEEN)
    path = os.pathsep.join([str(tmp_path / "library"), SEARCH_PATH])
    plain = python("-P", "-m", "module", cwd=tmp_path, PYTHONPATH=path)
    here = python("-P", "-m", "fastchat", "run", "-m", "module", cwd=tmp_path, PYTHONPATH=path)
    assert here == plain
    assert plain.status == 0


@pytest.mark.parametrize("place", [a_script, a_directory, a_zip_file])
def test_a_program_finds_the_modules_beside_it(
    place: Callable[[Path], str], tmp_path: Path
) -> None:
    words = [place(tmp_path)]
    if words == ["application.zip"]:
        with zipfile.ZipFile(tmp_path / words[0], "w") as file:
            file.writestr("__main__.py", "import beside")
            file.writestr("beside.py", "print('found')")
    else:
        directory = tmp_path / "application" if words == ["application"] else tmp_path
        (file_name,) = directory.glob("*.py")
        write(file_name, "import beside")
        write(directory / "beside.py", "print('found')")
    (tmp_path / "elsewhere").mkdir()
    for cwd, word in [(tmp_path, words[0]), (tmp_path / "elsewhere", f"../{words[0]}")]:
        assert run(word, cwd=cwd) == Outcome(0, "found\n", "")


@pytest.mark.parametrize("implementation", FASTCHAT)
def test_the_old_names_are_fastchats(implementation: str, tmp_path: Path) -> None:
    program = """
        import asynchat, asyncore, fastchat
        print(asyncore is fastchat.asyncore, asynchat is fastchat.asynchat)
        print(fastchat.implementation)
    """
    write(tmp_path / "program.py", program)
    done = python(
        *("-W", "error", "-m", "fastchat", "run", "program.py"),
        cwd=tmp_path,
        FASTCHAT_IMPLEMENTATION=implementation,
    )
    assert done == Outcome(0, f"True True\n{implementation}\n", "")


@pytest.mark.parametrize(
    "copies",
    [["asyncore.py"], ["asynchat/__init__.py"], ["asyncore.py", "asynchat.py"]],
    ids=" ".join,
)
@pytest.mark.parametrize("words", [["program.py"], ["-m", "program"]], ids=" ".join)
def test_old_modules_beside_the_program_are_not_used_and_one_line_says_so(
    copies: list[str], words: list[str], tmp_path: Path
) -> None:
    # Copies that programs carry with them since 3.12.
    for copy in copies:
        write(tmp_path / copy, "raise SystemExit('the copy was imported')")
    write(
        tmp_path / "program.py",
        "import asyncore, asynchat; print(asyncore.__name__, asynchat.__name__)",
    )
    places = " and ".join(str(tmp_path / copy) for copy in copies)
    assert run(*words, cwd=tmp_path) == Outcome(
        0,
        "fastchat.asyncore fastchat.asynchat\n",
        f"fastchat: the program runs on fastchat's modules and not on {places}\n",
    )


def test_old_modules_of_a_package_are_its_own(tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", "")
    write(tmp_path / "package" / "asyncore.py", "print('the copy was imported')")
    write(tmp_path / "package" / "__main__.py", "from package import asyncore")
    assert run("-m", "package", cwd=tmp_path) == Outcome(0, "the copy was imported\n", "")


@pytest.mark.parametrize(
    ("words", "environment", "holds"),
    [
        ([], {}, False),
        (["--coalesce"], {}, True),
        ([], {"FASTCHAT_COALESCE": "1"}, True),
        (["--coalesce"], {"FASTCHAT_COALESCE": "0"}, False),
    ],
)
@pytest.mark.parametrize("by_module", [False, True])
def test_output_is_held_only_if_it_is_asked_for(
    words: list[str], environment: dict[str, str], holds: bool, by_module: bool, tmp_path: Path
) -> None:
    write(
        tmp_path / "program.py",
        """
        import fastchat, sys
        fastchat.install()  # what the command line has asked for lasts
        import asynchat
        print(asynchat.async_chat.ac_out_coalesce, sys.argv[1:])
        """,
    )
    program = ["-m", "program"] if by_module else ["program.py"]
    done = run(*words, *program, "--coalesce", cwd=tmp_path, **environment)
    assert done == Outcome(0, f"{holds} ['--coalesce']\n", "")


def test_what_the_packages_around_a_module_import_is_fastchats_too(tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", "import asynchat; print(asynchat.__name__)")
    write(tmp_path / "package" / "module.py", "")
    done = run("-m", "package.module", cwd=tmp_path)
    assert done == Outcome(0, "fastchat.asynchat\n", "")


def test_threads_and_exit_functions_find_the_program_later(tmp_path: Path) -> None:
    program = """
        import atexit, pickle, sys, threading

        class Thing:
            pass

        things = pickle.dumps(Thing())

        def look(who):
            import __main__
            print(who, type(pickle.loads(things)) is __main__.Thing)

        def look_after_the_end():
            threading.main_thread().join()
            look("thread")

        atexit.register(look, "exit")
        threading.Thread(target=look_after_the_end).start()
        look("program")
    """
    write(tmp_path / "program.py", program)
    plain = python("program.py", cwd=tmp_path)
    assert run("program.py", cwd=tmp_path) == plain
    assert plain.output == "program True\nthread True\nexit True\n"


def test_a_program_may_leave_its_directory(tmp_path: Path) -> None:
    program = """
        import os, sys, inspect
        def function(): "found"
        os.chdir("/")
        print(open(__file__).read().count("chdir"), inspect.getsource(function))
    """
    write(tmp_path / "program.py", program)
    plain = python("program.py", cwd=tmp_path)
    assert run("program.py", cwd=tmp_path) == plain
    assert plain.status == 0


# ---------------------------------------------------------------------------------------------
# How it ends.
# ---------------------------------------------------------------------------------------------

LIBRARY = """
    import sys

    def fail():
        raise ValueError("of the library")

    def report():
        try:
            fail()
        except ValueError:
            sys.excepthook(*sys.exc_info())
"""

# By what happens: the program, and the status it ends with, if that is the same everywhere.
ENDINGS: dict[str, tuple[str, int | None]] = {
    "end": ("print('done')", 0),
    "exit": ("import sys; sys.exit()", 0),
    "exit 3": ("import sys; sys.exit(3)", 3),
    "exit with a text": ("import sys; sys.exit('the text')", 1),
    "exit and the hook after it": (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sys.excepthook is sys.__excepthook__))\n"
        "sys.exit(3)",
        3,
    ),
    "exit at once": ("import os; os._exit(5)", 5),
    "exit from a function": ("def f(): raise SystemExit(4)\nf()", 4),
    "exception": ("1/0", 1),
    "exception in a function": ("def f():\n    g()\n\ndef g():\n    1/0\n\nf()", 1),
    "exception of a library": ("import library\nlibrary.fail()", 1),
    "exception of one's own": ("class Own(Exception): pass\nraise Own('text')", 1),
    "exception with a cause": (
        "try:\n    1/0\nexcept ArithmeticError as cause:\n    raise ValueError('x') from cause",
        1,
    ),
    "exception while handling one": (
        "import library\ntry:\n    library.fail()\nfinally:\n    {}['key']",
        1,
    ),
    "several exceptions": (
        "try:\n    1/0\nexcept ArithmeticError as one:\n    raise ExceptionGroup('all', [one])",
        1,
    ),
    "exception in a thread": (
        "import threading\nthread = threading.Thread(name='one', target=lambda: 1/0)\n"
        "thread.start()\nthread.join()",
        0,
    ),
    "exception at exit": ("import atexit\natexit.register(lambda: 1/0)", 0),
    "syntax error": ("print('never')\ndef f(:\n    pass", 1),
    "indentation error": ("if True:\nprint('never')", 1),
    "syntax error of a library": ("import wrong", 1),
    "missing library": ("import no_such_module", 1),
    "missing name of a library": ("from library import no_such_name", 1),
    "interrupt": ("import signal\nsignal.raise_signal(signal.SIGINT)", None),
    "its own hook": (
        "import sys, traceback\n"
        "def hook(kind, value, trace):\n"
        "    print('hook', kind, [frame.name for frame in traceback.extract_tb(trace)])\n"
        "sys.excepthook = hook\n"
        "def f(): 1/0\n"
        "f()",
        1,
    ),
    "hook called by a library": ("import library\nlibrary.report()", 0),
    "console": (
        "import code\n"
        "console = code.InteractiveConsole({'__name__': '__console__'})\n"
        "console.push('import library; library.fail()')",
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_as_it_always_did(ending: str, tmp_path: Path) -> None:
    program, status = ENDINGS[ending]
    (tmp_path / "program.py").write_text(program)
    write(tmp_path / "library.py", LIBRARY)
    write(tmp_path / "wrong.py", "def f(:")
    plain = python("program.py", cwd=tmp_path)
    assert run("program.py", cwd=tmp_path) == plain
    if status is not None:
        assert plain.status == status


@pytest.mark.parametrize("words", [["application"], ["application.zip"], ["-m", "module"]])
def test_the_traceback_of_a_module_or_archive(words: list[str], tmp_path: Path) -> None:
    program = "def f():\n    1/0\nf()"
    (tmp_path / "module.py").write_text(program)
    write(tmp_path / "application" / "__main__.py", program)
    with zipfile.ZipFile(tmp_path / "application.zip", "w") as file:
        file.writestr("__main__.py", program)
    plain = python(*words, cwd=tmp_path)
    assert run(*words, cwd=tmp_path) == plain
    assert plain.status == 1


@pytest.mark.parametrize("failure", ["1/0", "import no_such_module", "raise SystemExit(6)"])
def test_a_package_that_fails_before_its_module_runs(failure: str, tmp_path: Path) -> None:
    write(tmp_path / "package" / "__init__.py", failure)
    write(tmp_path / "package" / "__main__.py", "print('never')")
    plain = python("-m", "package", cwd=tmp_path)
    assert run("-m", "package", cwd=tmp_path) == plain


def test_a_package_that_imports_from_itself_what_is_not_there(tmp_path: Path) -> None:
    # The error names the package, as it does where the package is missing; Python itself takes the
    # one for the other here.
    write(tmp_path / "package" / "__init__.py", "from package import nothing")
    write(tmp_path / "package" / "__main__.py", "print('never')")
    done = run("-m", "package", cwd=tmp_path)
    assert done.status == 1
    assert f'  File "{tmp_path / "package" / "__init__.py"}", line 1, in <module>' in done.errors
    assert "ImportError: cannot import name 'nothing'" in done.errors


# ---------------------------------------------------------------------------------------------
# Command lines that are wrong, and the ones that ask.
# ---------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to call ``main`` in; all that it changes in this process is put back."""
    modules = {name: sys.modules.get(name) for name in ("__main__", "asyncore", "asynchat")}
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(aliases, "_replaced", None)
    chat = fastchat.asynchat.async_chat
    monkeypatch.setattr(chat, "ac_out_coalesce", chat.ac_out_coalesce)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    for name, before in modules.items():
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before


NO_PROGRAM = [
    ([], "what is to be done?"),
    (["walk"], "there is no command 'walk', only run"),
    (["--walk"], "there is no command '--walk', only run"),
    (["-V"], "there is no command '-V', only run"),
    (["--version", "run"], "--version takes nothing else"),
    (["--help", "run"], "--help takes nothing else"),
    (["run"], "run needs a program"),
    (["run", "-m"], "run -m needs the name of a module"),
    (["run", "-x", "program.py"], "run has no option '-x', only --coalesce and -m"),
    (["run", "missing.py"], "cannot read the program 'missing.py': No such file or directory"),
    (["run", "below/missing.py"], "cannot read the program 'below/missing.py'"),
    (["run", "program.py/"], "cannot read the program 'program.py/'"),
    (["run", "empty"], "there is no __main__.py in 'empty'"),
    (["run", "empty.zip"], "there is no __main__.py in 'empty.zip'"),
    (["run", "-m", "missing"], "there is no module 'missing'"),
    (["run", "-m", "missing.module"], "cannot find the module 'missing.module'"),
    (["run", "-m", "module.missing"], "cannot find the module 'module.missing'"),
    (["run", "-m", "package"], "'package'"),
    (["run", "-m", "sys"], "'sys' has no Python code to run"),
    (["run", "-m", ""], "cannot find the module ''"),
    (["run", "-m", ".module"], "cannot find the module '.module'"),
]


@pytest.mark.parametrize(("words", "message"), NO_PROGRAM, ids=[str(row[0]) for row in NO_PROGRAM])
def test_there_is_nothing_to_run(
    words: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "program.py", "raise AssertionError")
    write(here / "module.py", "")
    write(here / "package" / "__init__.py", "")
    (here / "empty").mkdir()
    zipfile.ZipFile(here / "empty.zip", "w").close()
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    # One line that says why, then how it is done.
    why, *usage = printed.err.splitlines()
    assert why.startswith("fastchat: ")
    assert message in why
    assert usage == cli.USAGE.splitlines()


def test_a_program_that_may_not_be_read(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # No mode of the file would do: root may read everything.
    def open_code(path: str) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    write(here / "program.py", "")
    monkeypatch.setattr(io, "open_code", open_code)
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "program.py"])
    assert caught.value.code == 2
    assert "cannot read the program 'program.py': Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["run", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(words)
    printed = capsys.readouterr()
    assert printed.out == cli.USAGE
    assert printed.err == ""


def test_usage_names_what_there_is() -> None:
    for words in (
        "run [--coalesce] PROGRAM.py [ARGS...]",
        "run [--coalesce] -m MODULE [ARGS...]",
        "--version",
        "--help",
    ):
        assert words in cli.USAGE
    assert "FASTCHAT_IMPLEMENTATION=auto|cython|python" in cli.USAGE


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    expected = f"fastchat {fastchat.__version__} ({fastchat.implementation})\n"
    assert capsys.readouterr().out == expected


def test_the_command_line_of_the_process(tmp_path: Path) -> None:
    asked = python("-m", "fastchat", "--version", cwd=tmp_path)
    assert asked == Outcome(0, f"fastchat {fastchat.__version__} ({fastchat.implementation})\n", "")
    nothing = python("-m", "fastchat", cwd=tmp_path)
    assert nothing.status == 2
    assert nothing.errors == f"fastchat: what is to be done?\n{cli.USAGE}"


# ---------------------------------------------------------------------------------------------
# In this process.
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [a_script, a_directory, a_zip_file])
def test_run(
    place: Callable[[Path], str],
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = place(here)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    cli.main(["run", program, "one", "--two"])
    seen = json.loads(capsys.readouterr().out)
    assert seen["argv"] == [program, "one", "--two"]
    assert seen["name"] == "__main__"
    assert seen["is the main module"]
    assert sys.modules["asyncore"] is fastchat.asyncore
    assert sys.modules["__main__"].__doc__ == "The doc."


@pytest.mark.parametrize("module", ["module", "package"])
def test_run_a_module(module: str, here: Path) -> None:
    write(here / "module.py", "import sys; argv = list(sys.argv)")
    write(here / "package" / "__init__.py", "")
    shutil.copy(here / "module.py", here / "package" / "__main__.py")
    cli.main(["run", "-m", module, "one"])
    main: Any = sys.modules["__main__"]
    assert main.argv == [main.__file__, "one"]
    assert main.__name__ == "__main__"


@pytest.mark.parametrize("words", [["program.py"], ["-m", "program"]])
def test_the_hook_shows_the_program_only(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "program.py", "def f():\n    1/0\n\nf()")
    with pytest.raises(ZeroDivisionError) as caught:
        cli.main(["run", *words])
    sys.excepthook(caught.type, caught.value, caught.tb)
    lines = capsys.readouterr().err.splitlines()
    frames = [line for line in lines if line.startswith("  File ")]
    assert [frame.rpartition(" ")[2] for frame in frames] == ["<module>", "f"]
    assert all("program.py" in frame for frame in frames)
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_the_hook_shows_a_syntax_error_without_frames(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here / "program.py", "def f(:")
    with pytest.raises(SyntaxError) as caught:
        cli.main(["run", "program.py"])
    sys.excepthook(caught.type, caught.value, caught.tb)
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    assert errors == "".join(traceback.format_exception_only(caught.type, caught.value))


# ---------------------------------------------------------------------------------------------
# Programs that know nothing of held output.
# ---------------------------------------------------------------------------------------------

WAITING = """
    import asynchat, asyncore, os, socket

    near, far = socket.socketpair()
    far.settimeout(20)

    class Chat(asynchat.async_chat):
        def collect_incoming_data(self, data):
            self.line = data

        def found_terminator(self):
            {hook}

    chat = Chat(near)
    chat.set_terminator(b"\\n")
    far.sendall(b"one\\ntwo\\nthree\\n")
    asyncore.loop(timeout=20, count=1)
    print(far.recv(100, socket.MSG_DONTWAIT).decode())
    asyncore.close_all()
    far.close()
"""

# What a hook does after it has pushed: it waits for the peer to have it, or writes by itself.
HOOKS = {
    "waits for what the peer does about the reply": (
        "self.push(self.line + b';'); assert far.recv(10, socket.MSG_PEEK)[-4:]",
        "one;two;three;",
    ),
    "writes to the descriptor": (
        "self.push(self.line + b':'); os.write(self._fileno, b'body;')",
        "one:body;two:body;three:body;",
    ),
    "writes to a socket got earlier": (
        "self.push(self.line + b':'); near.send(b'body;')",
        "one:body;two:body;three:body;",
    ),
}


@pytest.mark.parametrize("hook", HOOKS)
def test_a_program_that_knows_nothing_of_held_output_has_none(hook: str, tmp_path: Path) -> None:
    code, output = HOOKS[hook]
    write(tmp_path / "program.py", WAITING.format(hook=code))
    assert run("program.py", cwd=tmp_path) == Outcome(0, f"{output}\n", "")
    installing = "import fastchat\nfastchat.install()\n"
    write(tmp_path / "installs.py", installing + textwrap.dedent(WAITING.format(hook=code)))
    assert python("installs.py", cwd=tmp_path) == Outcome(0, f"{output}\n", "")


def test_it_is_held_where_that_is_asked_for(tmp_path: Path) -> None:
    code, _ = HOOKS["writes to the descriptor"]
    write(tmp_path / "program.py", WAITING.format(hook=code))
    done = run("--coalesce", "program.py", cwd=tmp_path)
    assert done == Outcome(0, "body;body;one:two:three:body;\n", "")


@counts_references
@pytest.mark.parametrize("words", [["run"], ["run", "--coalesce"], []], ids=" ".join)
def test_what_is_left_open_may_print_when_the_program_ends(
    words: list[str], tmp_path: Path
) -> None:
    write(
        tmp_path / "program.py",
        """\
        import fastchat
        fastchat.install()
        import asyncore

        class Channel(asyncore.dispatcher):
            def __del__(self):
                print("gone")

        channel = Channel()
        channel.create_socket()
        """,
    )
    via = ["-m", "fastchat", *words] if words else []
    assert python("-W", "ignore", *via, "program.py", cwd=tmp_path).output == "gone\n"
