"""A finished wheel: what lies in it, what belongs in it, and the same wheel with other files.

What belongs in it is what the tree has: a checkout, or an unpacked sdist.
"""

import re
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.building import ROOT, project_files, run, the_only

# What the name of a module of the interpreter that runs this ends in, where it is compiled.
SUFFIX: str = sysconfig.get_config_var("EXT_SUFFIX")


@dataclass(frozen=True)
class Wheel:
    """A wheel, in its file."""

    path: Path

    @property
    def is_pure(self) -> bool:
        return self.path.name.endswith("-none-any.whl")

    @property
    def names(self) -> set[str]:
        """Those of its files; some tools put directories in, too."""
        with zipfile.ZipFile(self.path) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}

    def read(self, pattern: str) -> bytes:
        """The one file whose name matches."""
        with zipfile.ZipFile(self.path) as wheel:
            (name,) = (name for name in wheel.namelist() if re.fullmatch(pattern, name))
            return wheel.read(name)


def package_files() -> set[str]:
    """The files of the package that are installed, as a wheel names them."""
    inside = (name.removeprefix("src/") for name in project_files() if name.startswith("src/"))
    return {name for name in inside if name.endswith((".py", ".pyi", "/py.typed"))}


def compiled_modules() -> list[str]:
    """The modules that are compiled, as paths without a suffix below the package."""
    package = ROOT / "src" / "fastchat"
    sources = [*package.glob("*.pyx"), *package.glob("_core/*.pxd")]
    return sorted(path.relative_to(package).with_suffix("").as_posix() for path in sources)


def library() -> str:
    """The one shared object for the interpreter that runs this, as a wheel names it."""
    return f"fastchat/_scanner{SUFFIX}"


def described(names: set[str]) -> set[str]:
    """Those of a wheel's names that describe it."""
    return {name for name in names if ".dist-info/" in name}


def unpack(wheel: Path, into: Path) -> Path:
    """Unpack a wheel; returns the directory with what was in it."""
    done = run("-m", "wheel", "unpack", "--dest", into, wheel)
    assert done.returncode == 0, done.stdout
    return the_only("fast_asynchat-*", into)


def pack(directory: Path, into: Path) -> Path:
    """Make a wheel of a directory, with a RECORD that agrees."""
    into.mkdir(parents=True, exist_ok=True)
    done = run("-m", "wheel", "pack", "--dest-dir", into, directory)
    assert done.returncode == 0, done.stdout
    return the_only("*.whl", into)


def install(wheel: Path, into: Path) -> Path:
    """Install a wheel, and nothing else, into a directory; returns the directory."""
    done = run(
        *("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", into, wheel)
    )
    assert done.returncode == 0, done.stdout
    return into
