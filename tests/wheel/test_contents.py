"""What lies in the wheel: all that belongs there, nothing else, nothing of the build machine.

The one extension is looked at, too, on Linux as ELF.
"""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import platform
import re
import sys
import tomllib
import zipfile
from email.message import Message

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from packaging.tags import Tag, sys_tags
from packaging.utils import parse_wheel_filename

import fastchat
from tests.support.building import ROOT
from tests.support.wheels import (
    Wheel,
    described,
    library,
    package_files,
)

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")

# The name of the extension, for any interpreter and system.
EXTENSION = r"fastchat/_scanner\.[^/]+\.(so|pyd)"

# Of the extension, of a wheel that has it, and of one that does not.  The extension has 2 MB, and
# debug information makes it five times as large; the wheels have 0.9 and 0.2 MB.
MOST_OF_EXTENSION = 2_600_000
MOST_WITH_IT = 1_300_000
MOST_WITHOUT = 300_000

# What the names mean that had no version of glibc in them.
LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}

# What a wheel may ask for at the most; riscv64 has no image that is older.
NEWEST_GLIBC = (2, 39) if platform.machine() == "riscv64" else (2, 28)


@pytest.fixture
def tags(wheel: Wheel) -> frozenset[Tag]:
    return parse_wheel_filename(wheel.path.name)[3]


@pytest.fixture
def settings(wheel: Wheel) -> Message:
    """The file WHEEL."""
    return email.message_from_bytes(wheel.read(r"[^/]+\.dist-info/WHEEL"))


@pytest.fixture
def elf(wheel: Wheel) -> ELFFile:
    return ELFFile(io.BytesIO(wheel.read(EXTENSION)))


def dynamic(elf: ELFFile) -> DynamicSection:
    """What the dynamic linker reads."""
    section = elf.get_section_by_name(".dynamic")
    assert isinstance(section, DynamicSection)
    return section


def test_package_and_extension_and_nothing_else(wheel: Wheel) -> None:
    # No source of the extension above all, which nothing reads where it is compiled, and no
    # libraries that a tool has put beside it.
    belongs = package_files() | (set() if wheel.is_pure else {library()})
    assert wheel.names - described(wheel.names) == belongs


def test_description(wheel: Wheel) -> None:
    names = {name.partition("/")[2] for name in described(wheel.names)}
    assert names == {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt"}
    assert wheel.read(r".*/top_level\.txt").split() == [b"fastchat"]


def test_licence(wheel: Wheel) -> None:
    assert wheel.read(r".*/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_record_agrees(wheel: Wheel) -> None:
    def line(name: str, content: bytes) -> tuple[str, str, str]:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
        return name, f"sha256={digest.decode()}", str(len(content))

    with zipfile.ZipFile(wheel.path) as archive:
        (record,) = (name for name in wheel.names if name.endswith(".dist-info/RECORD"))
        said = {tuple(row) for row in csv.reader(archive.read(record).decode().splitlines())}
        lines = {line(name, archive.read(name)) for name in wheel.names - {record}}
    assert said == lines | {(record, "", "")}


def test_name_and_metadata_agree(wheel: Wheel) -> None:
    name, version, build, _ = parse_wheel_filename(wheel.path.name)
    metadata = email.message_from_bytes(wheel.read(r".*/METADATA"))
    assert (name, str(version), build) == ("fast-asynchat", fastchat.__version__, ())
    assert (metadata["Name"], metadata["Version"]) == (name, fastchat.__version__)
    wanted = metadata.get_all("Requires-Dist", [])
    assert [each for each in wanted if "; extra == " not in each] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert metadata["Requires-Python"] == project["requires-python"]


def test_tags_agree(wheel: Wheel, tags: frozenset[Tag], settings: Message) -> None:
    assert {str(tag) for tag in tags} == set(settings.get_all("Tag", []))
    assert settings["Root-Is-Purelib"] == ("true" if wheel.is_pure else "false")
    # The interpreter that runs this takes it, and the extensions in it are for no other.
    assert tags & set(sys_tags())
    if wheel.is_pure:
        assert {str(tag) for tag in tags} == {"py3-none-any"}
    else:
        own = next(sys_tags())
        assert {(tag.interpreter, tag.abi) for tag in tags} == {(own.interpreter, own.abi)}


def test_size(wheel: Wheel) -> None:
    most = MOST_WITHOUT if wheel.is_pure else MOST_WITH_IT
    assert wheel.path.stat().st_size <= most


# The extension.


@pytest.mark.compiled
def test_extension_is_small(wheel: Wheel) -> None:
    assert len(wheel.read(EXTENSION)) <= MOST_OF_EXTENSION


@pytest.mark.compiled
@linux_only
def test_extension_is_stripped(elf: ELFFile) -> None:
    names = {section.name for section in elf.iter_sections()}
    assert not {name for name in names if re.match(r"\.symtab|\.strtab|\.debug|\.gnu\.lto", name)}


@pytest.mark.compiled
@linux_only
def test_extension_needs_the_c_library_only(elf: ELFFile) -> None:
    libraries = {tag.needed for tag in dynamic(elf).iter_tags("DT_NEEDED")}
    own = r"libc\.so\.6|libpthread\.so\.0|libc\.musl-\w+\.so\.1|ld-linux-[\w-]+\.so\.\d"
    assert not {name for name in libraries if not re.fullmatch(own, name)}


@pytest.mark.compiled
@linux_only
def test_extension_looks_for_libraries_in_no_place_of_its_own(elf: ELFFile) -> None:
    # Such as one of the machine that it was built on.
    assert not {tag.entry.d_tag for tag in dynamic(elf).iter_tags()} & {"DT_RPATH", "DT_RUNPATH"}


@pytest.mark.compiled
@linux_only
def test_extension_is_for_the_linux_that_the_tag_says(elf: ELFFile, tags: frozenset[Tag]) -> None:
    found = [re.match(r"manylinux_(\d+)_(\d+)_", tag.platform) for tag in tags]
    promised = [(int(one[1]), int(one[2])) for one in found if one]
    names = {tag.platform.partition("_")[0] for tag in tags}
    promised += [LEGACY[name] for name in names & LEGACY.keys()]
    if not promised:
        pytest.skip("the file name promises nothing about the C library")
    assert max(promised) <= NEWEST_GLIBC
    versions = elf.get_section_by_name(".gnu.version_r")
    assert isinstance(versions, GNUVerNeedSection)
    needed = [each.name for _, needs in versions.iter_versions() for each in needs]
    wanted = [tuple(map(int, name.removeprefix("GLIBC_").split("."))) for name in needed]
    assert max(wanted) <= min(promised)


@pytest.mark.compiled
@linux_only
def test_extension_has_no_assertions(elf: ELFFile) -> None:
    # NDEBUG, one of the interpreter's own flags, was not lost with the others.
    symbols = elf.get_section_by_name(".dynsym")
    assert isinstance(symbols, SymbolTableSection)
    assert not symbols.get_symbol_by_name("__assert_fail")
