"""``python -m fastchat run``: how a program ends is how it always did.

The tests run one program twice, as ``python PROGRAM`` and as ``python -m fastchat run PROGRAM``,
and compare all that comes out: exit status and both outputs.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.support.programs import python, run, write

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
