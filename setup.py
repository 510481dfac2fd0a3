"""Build what is compiled; everything else about the package stands in pyproject.toml.

FASTCHAT_BUILD_EXTENSION decides what happens:

    unset   build it and load it; if either fails, say so loudly and install without it
    yes     build it, or fail (and when cross-compiling: what is built is not loaded here)
    no      do not build it: the wheel is py3-none-any (always so outside CPython)

What goes wrong is told in one paragraph: what is missing, and how to go on.

FASTCHAT_SANITIZE (for example ``address,undefined``) goes to the compiler's -fsanitize.  What it
finds ends the process.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import setuptools

# pip sees to the version only where it makes an environment for the build.
if int(setuptools.__version__.partition(".")[0]) < 77:
    sys.exit(
        f"fastchat: setuptools {setuptools.__version__} cannot build this, 77 is the first that "
        "can.  Upgrade it: python -m pip install --upgrade 'setuptools>=77' 'Cython>=3.2,<4'.  "
        "Or let pip fetch what it needs for the build: install without --no-build-isolation."
    )

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.editable_wheel import editable_wheel as _editable_wheel
from setuptools.errors import FileError

# The compiled modules: those in Cython, and the modules of the core that have a .pxd beside them.
# All go into one shared object, which is loaded sooner than as many as there are modules, and can
# neither be there in part nor be of two builds.  `_backend.py` finds them in it.
LIBRARY = "fastchat._scanner"
SOURCES = [
    *sorted(Path("src/fastchat").glob("*.pyx")),
    *sorted(path.with_suffix(".py") for path in Path("src/fastchat/_core").glob("*.pxd")),
]
if not SOURCES:
    sys.exit("fastchat: setup.py has to run in the directory it is in")
WANTED = os.environ.get("FASTCHAT_BUILD_EXTENSION", "")
SANITIZE = os.environ.get("FASTCHAT_SANITIZE", "")

REMEDY = """\
Compiling takes a C compiler and Python's headers: build-essential and
python3-dev on Debian and Ubuntu, gcc and python3-devel on Fedora,
`xcode-select --install` on macOS, Visual Studio's build tools on Windows.
CC=... names another compiler."""

BANNER = f"""
{"*" * 72}
fastchat: THE COMPILED MODULES WERE NOT BUILT

    {{reason}}

The package works without them: the same code in Python, only slower.
`python -m fastchat --version` says what is running, and why.
{REMEDY}
To insist on the compiled modules:

    FASTCHAT_BUILD_EXTENSION=yes pip install --no-cache-dir \\
        --force-reinstall --no-binary fast-asynchat fast-asynchat
{"*" * 72}
"""

INSISTED = f"""
fastchat: the compiled modules were not built, and FASTCHAT_BUILD_EXTENSION
is "yes": {{reason}}.
{REMEDY}
FASTCHAT_BUILD_EXTENSION=no does without them: the same code in Python, only
slower."""

NOT_WRITTEN = """{error}
fastchat: a build writes to the directory of its sources (build/ and src/) and
to the one for temporary files, about 20 MB.  Make them writable and make room,
or copy the sources to where both is so, and install the copy."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def explain(error: Exception) -> str:
    """Why something was not built, in a line."""
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return f"Python's headers are missing, {sysconfig.get_path('include')}/Python.h above all"
    cause = error.__context__
    if isinstance(cause, subprocess.CalledProcessError):  # with all of the command in its text
        return f"{cause.cmd[0]} ended with status {cause.returncode}; what it said is above"
    return f"{type(error).__name__}: {error}"


def without_run_paths(words: list[str]) -> list[str]:
    """The words of a linker's command, less the options -rpath, each of one word or of two."""
    option = re.compile(r"-Wl,--?rpath([,=].*)?")
    pairs = zip(["", *words], words, strict=False)
    return [
        word
        for before, word in pairs
        if not option.fullmatch(word) and not re.fullmatch(r"-Wl,--?rpath", before)
    ]


def wants_debug_information() -> bool:
    """Whether CFLAGS ask for it, as those of distributions do, which keep it in other packages."""
    words = os.environ.get("CFLAGS", "").split()
    return any(word.startswith("-g") and word != "-g0" for word in words)


def remove_compiled(directory: str) -> None:
    """Remove what an earlier build left below *directory*, of whichever modules.

    Beside the sources it would be imported, in the build directory it would be packed.
    """
    for path in Path(directory).rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
        path.unlink()


class build_ext(_build_ext):
    """Translate and compile, with the interpreter's own flags first and ours after them."""

    failed = False

    def build_extensions(self) -> None:
        say("fastchat: building with compiled modules")
        remove_compiled(self.build_lib)
        if self.compiler.compiler_type != "msvc":
            # An interpreter can be built with a path to its own libraries.  The extensions need
            # none of them, and a wheel goes where that path is somebody else's, or nobody's.
            self.compiler.linker_so = without_run_paths(self.compiler.linker_so)
        try:
            self.translate()
        except Exception as error:
            self.give_up(explain(error))
        else:
            super().build_extensions()
        if not (build_ext.failed or WANTED == "yes" or SANITIZE):
            self.load()
        if build_ext.failed:
            Path(self.get_ext_fullpath(LIBRARY)).unlink(missing_ok=True)

    def copy_extensions_to_source(self) -> None:
        remove_compiled("src")
        if not build_ext.failed:
            super().copy_extensions_to_source()

    def build_extension(self, ext: Extension) -> None:
        def compiled(source: str) -> list[str]:
            options = ext.extra_compile_args
            made: list[str] = self.compiler.compile(
                [source], self.build_temp, extra_postargs=options
            )
            return made

        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = [path for made in pool.map(compiled, ext.sources) for path in made]
            # What is left to do is to link.
            ext.depends, ext.sources = [str(path) for path in ext.sources], []
            ext.extra_objects = objects
            super().build_extension(ext)
        except Exception as error:
            self.give_up(explain(error))

    def give_up(self, reason: str) -> None:
        """Go on without what is compiled, unless it is insisted on."""
        if WANTED == "yes":
            sys.exit(INSISTED.format(reason=reason))
        if not build_ext.failed:
            say(BANNER.format(reason=reason))
        build_ext.failed = True

    def load(self) -> None:
        """Import the package with what was compiled, as it will be installed, in another process.

        A broken compiler may say that all went well.  Gives up where the import fails.
        """
        # Beside the objects: of a directory for temporary files nothing may be executed.
        with tempfile.TemporaryDirectory(dir=os.path.abspath(self.build_temp)) as scratch:
            others = shutil.ignore_patterns("*.so", "*.pyd")  # of earlier builds
            shutil.copytree(
                Path("src", "fastchat"),
                Path(scratch, "fastchat"),
                ignore=others,
                ignore_dangling_symlinks=True,  # with which Emacs locks what is edited
            )
            name = self.get_ext_filename(LIBRARY)  # type: ignore[no-untyped-call]
            shutil.copy(self.get_ext_fullpath(LIBRARY), Path(scratch, name))
            code = "import sys; sys.path.insert(0, sys.argv[1]); import fastchat"
            done = subprocess.run(
                [sys.executable, "-c", code, scratch],
                env=os.environ | {"FASTCHAT_IMPLEMENTATION": "cython"},
                stdin=subprocess.DEVNULL,  # which PYTHONINSPECT reads to its end
                stderr=subprocess.PIPE,
                text=True,
            )
        if done.returncode != 0:
            said = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
            self.give_up(f"what was compiled does not load: {said}")

    def translate(self) -> None:
        from Cython.Build import cythonize  # noqa: PLC0415 (it may be missing: inside the try)

        # From src/, so that tracebacks name files as they are installed.
        plan = [
            Extension(".".join(path.with_suffix("").parts[1:]), [str(path.relative_to("src"))])
            for path in SOURCES
        ]
        # The C goes to the build directory: where there is none, none can be stale or shipped.
        build_dir = os.path.abspath(self.build_temp)
        with contextlib.chdir("src"):
            made = cythonize(  # type: ignore[no-untyped-call]
                plan,
                build_dir=build_dir,
                force=True,
                language_level=3,
                # Without a GIL: what is locked, _core/state.py and _core/watch.py say.
                compiler_directives={"freethreading_compatible": True},
            )
        (ext,) = self.extensions
        # Objects go below the build directory, to a path that repeats that of their source.
        is_inside = not os.path.isabs(self.build_temp)
        paths = [path for module in made for path in module.sources]
        ext.sources = [os.path.relpath(path) if is_inside else path for path in paths]
        if SANITIZE:
            ext.extra_link_args = [f"-fsanitize={SANITIZE}"]
            ext.extra_compile_args = [*ext.extra_link_args, "-g", "-O1"]
            ext.extra_compile_args += ["-fno-omit-frame-pointer"]
            # Undefined behaviour would otherwise be reported and gone on with, and what Python
            # is built with makes signed overflow a defined one.
            ext.extra_compile_args += ["-fno-sanitize-recover=all", "-fno-wrapv"]
        elif self.compiler.compiler_type != "msvc" and not wants_debug_information():
            # Python is built with -g, and debug information would be most of the wheel.
            ext.extra_compile_args = ["-g0"]


class editable_wheel(_editable_wheel):
    """Without compiled modules: what an earlier build left beside the sources would run."""

    def run(self) -> None:
        remove_compiled("src")
        super().run()


class bdist_wheel(_bdist_wheel):
    """Tag a wheel that was to hold the extension, and does not, for what it is."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, machine = super().get_tag()
        # pip keeps what it builds and hides the banner.  As py3-none-any this wheel would go to all
        # interpreters that share the cache; cp311-none-<machine> stays where it was made, yields to
        # a compiled wheel next to it, and shows in the "Created wheel" line that pip does print.
        return python, "none" if build_ext.failed else abi, machine


if WANTED not in ("", "yes", "no"):
    sys.exit(f"fastchat: FASTCHAT_BUILD_EXTENSION is {WANTED!r}; it can be 'yes', 'no' or unset")

if WANTED == "no" or platform.python_implementation() != "CPython":
    say("fastchat: building without compiled modules")
    arguments: dict[str, Any] = {"cmdclass": {"editable_wheel": editable_wheel}}
else:
    # `optional` keeps an editable install from missing the files that the fallback did not make.
    extensions = [Extension(LIBRARY, [str(path) for path in SOURCES], optional=WANTED != "yes")]
    commands = {"build_ext": build_ext, "bdist_wheel": bdist_wheel}
    arguments = {"ext_modules": extensions, "cmdclass": commands}

try:
    setup(**arguments)
except SystemExit as ending:  # as which setuptools raises what ends a command
    error = ending.__context__
    if isinstance(error, FileError):  # about the sources themselves, where nothing is behind it
        error = error.__context__
    if isinstance(error, OSError):
        sys.exit(NOT_WRITTEN.format(error=ending))
    raise
