"""The command line: ``python -m fastchat run PROGRAM.py``, and the way to the other commands.

The rule of ``run``: the program cannot tell.  It gets its own ``sys.argv``, ``sys.path[0]`` and
``__main__``; its exit status is the command's, and its tracebacks show its own frames only.
"""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

import fastchat
from fastchat import _backend

USAGE = """\
usage: python -m fastchat run [--coalesce] PROGRAM.py [ARGS...]
       python -m fastchat run [--coalesce] -m MODULE [ARGS...]
       python -m fastchat lines [--delimiter BYTES]... [--max-line N] [FILE]
       python -m fastchat serve MODULE:CHANNEL --bind ADDRESS [OPTIONS]
       python -m fastchat echo --bind ADDRESS [OPTIONS]
       python -m fastchat --version | --help

run: runs an unmodified program that imports asyncore or asynchat on fastchat's modules of these
names. PROGRAM.py may be anything that Python itself runs: a file, or a directory or zip file
with a __main__.py. --coalesce sends the replies to pipelined requests together, which not
every program bears: see
https://github.com/fastchat/fastchat/blob/main/docs/compat.md#held-output
FASTCHAT_IMPLEMENTATION=auto|cython|python chooses the implementation, --version says which it
is, and why it is not the compiled one; FASTCHAT_COALESCE=0 sends every reply by itself, whatever
the program says, FASTCHAT_COALESCE=1 is --coalesce.

lines: counts the lines of FILE, or of the standard input: how many, the longest, what ends them.
BYTES ends a line, instead of LF, CRLF and CR, and may have \\r, \\n, \\t, \\0, \\\\ and \\xHH in
it; lines of more than N bytes, by default 16 MiB, are counted as too long, besides.

serve: serves a fastchat.LineChannel with limits, until SIGTERM or SIGINT stops it in order; echo
answers each line with itself. "serve --help" has the options.
"""

COMMANDS = "run, lines, serve, echo, --version and --help"

ExceptHook = Callable[[type[BaseException], BaseException, TracebackType | None], Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line *argv*, by default that of the process.

    Raises SystemExit: 0 after ``--help`` and ``--version``, 2 where the command line is wrong,
    there is no such program or file or no room for what is printed, and what the other commands
    end with.  Everything that the program raises leaves as it is.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[-1] in ("-h", "--help") and words[:-1] in ([], ["run"], ["lines"]):
        tell(USAGE)
    elif words in (["-V"], ["--version"]):
        tell(f"fastchat {fastchat.__version__} ({_backend.described})\n")
    elif not words:
        refuse("what is to be done?")
    elif words[0] in ("-h", "--help", "-V", "--version"):
        refuse(f"{words[0]} takes nothing else")
    elif words[0] == "lines":
        # Not before: a program that run() runs gets as few modules with it as can be.
        from fastchat import _lines_command  # noqa: PLC0415

        _lines_command.main(words[1:])
    elif words[0] in ("serve", "echo"):
        from fastchat import _serve_command  # noqa: PLC0415 (as above)

        _serve_command.main(words[0], words[1:])
    elif words[0] != "run":
        refuse(f"there is no command {words[0]!r}, only {COMMANDS}")
    else:
        run(words[1:])


def run(words: Sequence[str]) -> None:
    """Run a program on fastchat: *words* is its path and arguments, or ``-m`` and a module's.

    ``--coalesce`` before them leaves held output on.  Raises SystemExit(2) where there is no such
    program, and whatever the program raises.
    """
    coalesce = words[:1] == ["--coalesce"]
    if coalesce:
        words = words[1:]
    by_module = words[:1] == ["-m"]
    if by_module and len(words) == 1:
        refuse("run -m needs the name of a module")
    if not words:
        refuse("run needs a program")
    if not by_module and words[0].startswith("-"):
        refuse(f"run has no option {words[0]!r}, only --coalesce and -m")
    program = ModuleType("__main__")
    program.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):  # pragma: no branch (one interpreter takes one branch)
        program.__annotations__ = {}
    # Before the program is looked for: to find a module may import the packages around it.
    fastchat.install(replace=True, coalesce=coalesce)
    without_program = sys.path[:1]
    try:
        if by_module:
            code = _prepare_module(program, words[1])
            sys.argv[:] = [code.co_filename, *words[2:]]
        else:
            code = _prepare_path(program, words[0])
            sys.argv[:] = words
        if not sys.flags.safe_path or sys.path[:1] != without_program:
            _say_what_is_not_used()
        # For good, not only until the program's last line: its threads and its atexit functions
        # may look for __main__ later than that.
        sys.modules["__main__"] = program
        exec(code, program.__dict__)
    except SystemExit:
        raise
    except BaseException:
        # Not before: a program may ask whether the hook is the default one.
        sys.excepthook = _showing_only(program, sys.excepthook)
        raise


def _prepare_path(program: ModuleType, path: str) -> CodeType:
    """Make *program* the ``__main__`` of what is at *path*, and return its code."""
    full_path = _full_path(path)
    # What PyPy shows of a program's code has no dots; of __file__ it keeps them.
    code_path = os.path.abspath(full_path) if sys.implementation.name == "pypy" else full_path
    importer = pkgutil.get_importer(code_path)
    if importer is not None and os.path.exists(path):
        # A directory or a zip file: its modules are the program's, with -P as well.
        _put_first_on_path(code_path, even_if_safe=True)
        spec = importer.find_spec("__main__")
        if spec is None:
            refuse(f"there is no __main__.py in {path!r}")
        return _prepare_spec(program, spec)
    _put_first_on_path(os.path.dirname(os.path.realpath(path)))
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as failure:
        refuse(f"cannot read the program {path!r}: {failure.strerror}")
    program.__file__ = full_path
    _set_cached(program, None)
    compiled: CodeType | None = pkgutil.read_code(io.BytesIO(source))  # None where it is none
    loader = SourceFileLoader if compiled is None else SourcelessFileLoader
    program.__loader__ = loader("__main__", full_path)
    return compiled or compile(source, code_path, "exec", dont_inherit=True)


def _full_path(path: str) -> str:
    """*path* from the root, spelt as Python spells it for a program: with each dot that it has."""
    if os.name == "nt":  # pragma: no cover
        return os.path.abspath(path)
    return os.path.join(os.getcwd(), path)


def _prepare_module(program: ModuleType, name: str) -> CodeType:
    """Make *program* the ``__main__`` that module *name* is, and return its code."""
    _put_first_on_path(os.getcwd())
    if name.startswith("."):
        refuse(f"cannot find the module {name!r}: there is no package that it is relative to")
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as failure:
        if not f"{name}.".startswith(f"{failure.name}."):
            raise  # something that a package around it wanted
        refuse(f"cannot find the module {name!r}: {failure}")
    except ValueError as failure:  # "__main__", which is there and was not imported
        refuse(f"cannot find the module {name!r}: {failure}")
    if spec is None:
        refuse(f"there is no module {name!r}, or it is a package without a __main__")
    return _prepare_spec(program, spec)


def _prepare_spec(program: ModuleType, spec: ModuleSpec) -> CodeType:
    code: CodeType | None = getattr(spec.loader, "get_code", lambda _: None)(spec.name)
    if code is None:
        refuse(f"{spec.name!r} has no Python code to run")
    program.__file__ = code.co_filename
    _set_cached(program, spec.cached)
    program.__loader__ = spec.loader
    program.__package__ = spec.parent
    program.__spec__ = spec
    return code


def _set_cached(program: ModuleType, path: str | None) -> None:
    """Let *program* say where its compiled code lies, as it did up to Python 3.14."""
    if sys.version_info < (3, 15):  # pragma: no branch (one interpreter takes one branch)
        program.__dict__["__cached__"] = path


def _put_first_on_path(directory: str, even_if_safe: bool = False) -> None:
    """Make *directory* the first on ``sys.path``, as Python does; with ``-P`` it does not."""
    if not sys.flags.safe_path:
        sys.path[0:1] = [directory]
    elif even_if_safe:
        sys.path.insert(0, directory)


def _say_what_is_not_used() -> None:
    """Say on standard error which modules beside the program fastchat takes the place of."""
    specs = [PathFinder.find_spec(name, sys.path[:1]) for name in ("asyncore", "asynchat")]
    unused = [spec.origin for spec in specs if spec is not None and spec.origin is not None]
    if unused:
        complain(f"the program runs on fastchat's modules and not on {' and '.join(unused)}")


def refuse(why: str, command: str = "") -> NoReturn:
    """Say what is wrong with the command line, and exit with status 2.

    *command* is the one that has a ``--help`` of its own.
    """
    words = f"{command} --help" if command else "--help"
    complain(f"{command and command + ': '}{why} (python -m fastchat {words} says how)")
    raise SystemExit(2)


def complain(what: str) -> None:
    """Say *what* in one line on standard error, if there is one that can be written."""
    try:
        # Where there is none, print() would take standard output for it.
        if sys.stderr is not None:
            print("fastchat:", "\\n".join(what.splitlines()), file=sys.stderr, flush=True)
    except OSError:
        _send_nowhere(sys.stderr)


def tell(text: str, command: str = "") -> None:
    """Print *text* on standard output, if there is one; the rest is as of ``refuse``."""
    failure = write(text)
    if failure is not None:
        refuse(f"cannot write to the standard output: {failure.strerror}", command)


def write(text: str) -> OSError | None:
    """Print *text* on standard output, if there is one; returns what has kept it from that.

    Characters that the encoding of standard output does not have are escaped.
    """
    if sys.stdout is None:
        return None
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)
    except OSError as failure:
        _send_nowhere(sys.stdout)
        return failure
    return None


def _send_nowhere(stream: Any) -> None:
    """Let the rest of *stream* go nowhere, or the interpreter fails when it flushes at its end."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _showing_only(program: ModuleType, hook: ExceptHook) -> ExceptHook:
    """*hook*, an excepthook, shown no frames before the program's."""

    def shown(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
        begin = trace
        while begin is not None and begin.tb_frame.f_globals is not program.__dict__:
            begin = begin.tb_next
        begin = begin or _behind_us(trace)
        hook(kind, value.with_traceback(begin), begin)

    return shown


def _behind_us(trace: TracebackType | None) -> TracebackType | None:
    """What is left of *trace* where the program did not come to run.

    That is what a package around it did, or nothing where it does not compile.
    """
    rest = None
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module == __name__ or (rest is trace and module.partition(".")[0] == "importlib"):
            rest = trace.tb_next
        trace = trace.tb_next
    return rest
