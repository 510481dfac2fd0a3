"""The wheels that a release builds: cibuildwheel, set by pyproject.toml, makes these and no others.

It is asked for all architectures, so that a wheel is missing or too many by what pyproject.toml
says, and not by what a workflow names.

Without cibuildwheel these tests are skipped, unless FASTCHAT_REQUIRE_CIBUILDWHEEL=1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from tests.support.building import ROOT
from tests.support.needed import needs

pytestmark = needs("cibuildwheel", "CIBUILDWHEEL")

INTERPRETERS = ("cp311", "cp312", "cp313", "cp314", "cp314t", "cp315", "cp315t")
MACHINES = {
    "linux": [
        f"{libc}_{machine}"
        for libc in ("manylinux", "musllinux")
        for machine in ("x86_64", "aarch64", "riscv64")
    ],
    "macos": ["macosx_arm64", "macosx_x86_64"],
    "windows": ["win_amd64", "win_arm64"],
}


@pytest.mark.parametrize("platform", MACHINES)
def test_a_release_builds_these_wheels(platform: str) -> None:
    # CIBW_BUILD and the like would decide; so they do where cibuildwheel runs these tests.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CIBW_")}
    command = ["--print-build-identifiers", "--platform", platform, "--archs", "all"]
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", *command],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = [f"{python}-{machine}" for machine in MACHINES[platform] for python in INTERPRETERS]
    assert sorted(done.stdout.split()) == sorted(wanted)


def test_every_wheel_is_proven() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    for each in (settings, *settings["overrides"]):
        (proof,) = (command for command in each["test-command"] if "--wheel {wheel}" in command)
        assert "/tests/wheel/" in proof
