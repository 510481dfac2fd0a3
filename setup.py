"""Build what is compiled; everything else about the package stands in pyproject.toml.

FASTCHAT_BUILD_EXTENSION decides what happens:

    unset   try to build it; if that fails, say so loudly and install without it
    yes     build it, or fail
    no      do not build it: the wheel is py3-none-any (always so outside CPython)

FASTCHAT_SANITIZE (for example ``address,undefined``) goes to the compiler's -fsanitize.  What it
finds ends the process.
"""

import os
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext

# The compiled modules: those in Cython, and the modules of the core that have a .pxd beside them.
SOURCES = [
    *sorted(Path("src/fastchat").glob("*.pyx")),
    *sorted(path.with_suffix(".py") for path in Path("src/fastchat/_core").glob("*.pxd")),
]
if not SOURCES:
    sys.exit("fastchat: setup.py has to run in the directory it is in")
WANTED = os.environ.get("FASTCHAT_BUILD_EXTENSION", "")
SANITIZE = os.environ.get("FASTCHAT_SANITIZE", "")

BANNER = """
{rule}
fastchat: THE COMPILED SCANNER WAS NOT BUILT

    {reason}

The package works without it: the same code in Python, only slower.
fastchat.implementation says which of the two is running.  To insist on
the compiled one, install a C compiler and Python's headers, then:

    FASTCHAT_BUILD_EXTENSION=yes pip install --no-cache-dir \\
        --force-reinstall --no-binary fast-asynchat fast-asynchat
{rule}
"""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class build_ext(_build_ext):
    """Translate and compile, with the interpreter's own flags first and ours after them."""

    failed = False

    def build_extensions(self) -> None:
        say("fastchat: building with compiled modules")
        self.parallel = self.parallel or os.cpu_count()
        if self.compiler.compiler_type != "msvc":
            # An interpreter can be built with a path to its own libraries.  The extensions need
            # none of them, and a wheel goes where that path is somebody else's, or nobody's.
            linker = self.compiler.linker_so
            self.compiler.linker_so = [word for word in linker if not word.startswith("-Wl,-rpath")]
        try:
            self.translate()
        except Exception as error:
            self.give_up(error)
        else:
            super().build_extensions()
        if build_ext.failed:
            # All or none, and nothing that an earlier build left in the build directory.
            for ext in self.extensions:
                Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)

    def copy_extensions_to_source(self) -> None:
        if not build_ext.failed:
            super().copy_extensions_to_source()
            return
        for ext in self.extensions:  # of an earlier build
            name = self.get_ext_filename(ext.name)  # type: ignore[no-untyped-call]
            Path("src", name).unlink(missing_ok=True)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            self.give_up(error)

    def give_up(self, error: Exception) -> None:
        """Go on without what is compiled, unless it is insisted on; *error* is being handled."""
        if WANTED == "yes":
            raise error
        if not build_ext.failed:
            say(BANNER.format(rule="*" * 72, reason=f"{type(error).__name__}: {error}"))
        build_ext.failed = True

    def translate(self) -> None:
        from Cython.Build import cythonize  # noqa: PLC0415 (it may be missing: inside the try)

        # The C goes to the build directory: where there is none, none can be stale or shipped.
        plan = [Extension(ext.name, list(ext.sources)) for ext in self.extensions]
        made = cythonize(  # type: ignore[no-untyped-call]
            plan,
            build_dir=self.build_temp,
            force=True,
            language_level=3,
            # Without a GIL: what is locked, _core/state.py and _core/watch.py say.
            compiler_directives={"freethreading_compatible": True},
        )
        sources = {ext.name: ext.sources for ext in made}
        for ext in self.extensions:
            ext.sources = sources[ext.name]
            if SANITIZE:
                ext.extra_link_args = [f"-fsanitize={SANITIZE}"]
                ext.extra_compile_args = [*ext.extra_link_args, "-g", "-O1"]
                ext.extra_compile_args += ["-fno-omit-frame-pointer"]
                # Undefined behaviour would otherwise be reported and gone on with, and what Python
                # is built with makes signed overflow a defined one.
                ext.extra_compile_args += ["-fno-sanitize-recover=all", "-fno-wrapv"]
            elif self.compiler.compiler_type != "msvc":
                # Python is built with -g, and debug information would be most of the wheel.
                ext.extra_compile_args = ["-g0"]


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
    setup()
else:
    # `optional` keeps an editable install from missing the files that the fallback did not make.
    names = {path: ".".join(path.with_suffix("").parts[1:]) for path in SOURCES}
    extensions = [Extension(names[path], [str(path)], optional=WANTED != "yes") for path in SOURCES]
    setup(ext_modules=extensions, cmdclass={"build_ext": build_ext, "bdist_wheel": bdist_wheel})
