"""``python -m fastchat``: wrong command lines, those that ask, and ``main`` in this process."""

from __future__ import annotations

import errno
import io
import json
import shutil
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fastchat
from fastchat import _backend, aliases, cli
from tests.support.programs import Outcome, a_directory, a_script, a_zip_file, python, write

# Command lines that are wrong, and the ones that ask.


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
    (["walk"], "there is no command 'walk', only run, lines, serve, echo, --version and --help"),
    (
        ["--walk"],
        "there is no command '--walk', only run, lines, serve, echo, --version and --help",
    ),
    (["-V", "run"], "-V takes nothing else"),
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
    # One line, which says why, and what says more.
    (line,) = printed.err.splitlines()
    assert line.startswith("fastchat: ")
    assert message in line
    assert line.endswith(" (python -m fastchat --help says how)")


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


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["run", "-h"], ["lines", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(words)
    printed = capsys.readouterr()
    assert printed.out == cli.USAGE
    assert printed.err == ""


def test_usage_names_what_there_is() -> None:
    for words in (
        "run [--coalesce] PROGRAM.py [ARGS...]",
        "run [--coalesce] -m MODULE [ARGS...]",
        "lines [--delimiter BYTES]... [--max-line N] [FILE]",
        "--version",
        "--help",
    ):
        assert words in cli.USAGE
    assert "FASTCHAT_IMPLEMENTATION=auto|cython|python" in cli.USAGE


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--version"])
    expected = f"fastchat {fastchat.__version__} ({_backend.described})\n"
    assert capsys.readouterr().out == expected


def test_the_command_line_of_the_process(tmp_path: Path) -> None:
    asked = python("-m", "fastchat", "--version", cwd=tmp_path)
    assert asked == Outcome(0, f"fastchat {fastchat.__version__} ({_backend.described})\n", "")
    nothing = python("-m", "fastchat", cwd=tmp_path)
    assert nothing.status == 2
    assert nothing.errors.startswith("fastchat: what is to be done?")


def test_version_says_why_it_is_not_compiled(tmp_path: Path) -> None:
    asked = python("-m", "fastchat", "--version", cwd=tmp_path, FASTCHAT_IMPLEMENTATION="python")
    why = "python: FASTCHAT_IMPLEMENTATION asks for it"
    assert asked == Outcome(0, f"fastchat {fastchat.__version__} ({why})\n", "")


# In this process.


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
