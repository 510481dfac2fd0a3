"""``python -m fastchat run``: what the program sees, and that it can tell nothing of it.

Most tests run one program twice, as ``python PROGRAM`` and as ``python -m fastchat run PROGRAM``,
and compare all that comes out: exit status, both outputs, and what the program sees of itself.
"""

from __future__ import annotations

import json
import os
import py_compile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.channels import counts_references
from tests.support.implementations import FASTCHAT
from tests.support.programs import (
    SEARCH_PATH,
    SEEN,
    Outcome,
    a_directory,
    a_script,
    a_zip_file,
    python,
    run,
    write,
)

# What the program sees.


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


# Programs that know nothing of held output.

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
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Coverage, where it is measured, keeps all alive until nothing can be printed any more.
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)
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
    done = python("-W", "ignore", *via, "program.py", cwd=tmp_path)
    assert done == Outcome(0, "gone\n", "")
