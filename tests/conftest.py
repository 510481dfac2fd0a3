"""Fixtures that all tests share: implementations, stages, and what each test must leave behind.

``--no-extension`` is for the lanes that have no compiled modules; without it a missing one fails.
The tests in ``tests/wheel`` are about one finished wheel, and are there where ``--wheel`` names it.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastchat
from fastchat import _backend
from tests.support.channels import Clock, Stage, inside
from tests.support.implementations import FASTCHAT, STDLIB, Implementation, load
from tests.support.wheels import Wheel

# Fixtures that only the files of one subject share.
pytest_plugins = [
    "tests.support.aio",
    "tests.support.attached",
    "tests.support.examples",
    "tests.support.pollers",
    "tests.support.servers",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-extension",
        action="store_true",
        help="leave out the tests of the compiled modules, for an installation without it",
    )
    parser.addoption("--wheel", help="the wheel that tests/wheel is to prove, installed here")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.pop("FORCE_COLOR", None)  # many tests read what other programs say
    config.addinivalue_line("markers", "compiled: needs the compiled modules")
    if sys.implementation.name != "cpython":
        # The standard library's complains when it is collected, and here that is in a later test.
        complaint = "ignore:.*file_wrapper.__del__:pytest.PytestUnraisableExceptionWarning"
        config.addinivalue_line("filterwarnings", complaint)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over the proof of a wheel where there is no wheel to prove."""
    if collection_path == Path(__file__).parent / "wheel" and not config.getoption("--wheel"):
        return True
    return None


def pytest_report_header() -> str:
    return f"fastchat: {fastchat.__version__}, {fastchat.implementation}, from {fastchat.__file__}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, rather than skip, what a lane without the extension cannot run."""
    wheel = config.getoption("--wheel")
    if not config.getoption("--no-extension") and not (wheel and Wheel(Path(wheel)).is_pure):
        return
    compiled = [item for item in items if _needs_extension(item)]
    config.hook.pytest_deselected(items=compiled)
    items[:] = [item for item in items if not _needs_extension(item)]


def pytest_collection_finish() -> None:
    """Let the collector pass over what is there by now: 25,000 tests, of which none is garbage."""
    if hasattr(gc, "freeze"):
        gc.collect()
        gc.freeze()


def _needs_extension(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    parameters = [] if callspec is None else list(callspec.params.values())
    return "cython" in parameters or item.get_closest_marker("compiled") is not None


@pytest.fixture(autouse=True)
def _one_implementation() -> Iterator[None]:
    """Who leaves parts of another implementation to what is imported or reloaded later, fails."""
    yield
    is_compiled = fastchat.implementation == "cython"
    found = {name: sys.modules[name] for name in _backend._COMPILED if name in sys.modules}
    strangers = [
        name
        for name, module in found.items()
        if str(module.__file__).endswith(".py") == is_compiled
    ]
    assert strangers == []


@pytest.fixture(autouse=True)
def _whole_log() -> None:
    """Let no test leave out of the log what others have logged enough of."""
    for subject in ("channel", "server", "loop", "aio"):
        for limiter in logging.getLogger(f"fastchat.{subject}").filters:
            limiter.forget()  # type: ignore[union-attr]  # a Limiter, of each implementation


@pytest.fixture(params=[*FASTCHAT, *STDLIB])
def implementation(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    """Every implementation, the standard library's where this interpreter has it."""
    yield from _checked(request.param)


@pytest.fixture(params=FASTCHAT)
def ours(request: pytest.FixtureRequest) -> Iterator[Implementation]:
    """fastchat only, compiled and Python: for what the standard library does differently."""
    yield from _checked(request.param)


@pytest.fixture(params=FASTCHAT)
def scanner(request: pytest.FixtureRequest) -> Any:
    """The scanner functions, compiled and Python."""
    return load(request.param).scanner


@pytest.fixture
def stage(implementation: Implementation) -> Iterator[Stage]:
    """A stage for every implementation."""
    with Stage(implementation) as stage:
        yield stage


@pytest.fixture
def own(ours: Implementation) -> Iterator[Stage]:
    """A stage for what the standard library does not have."""
    with Stage(ours) as stage:
        yield stage


@pytest.fixture
def dispatcher(stage: Stage) -> Any:
    """The class, of each implementation."""
    return stage.asyncore.dispatcher


@pytest.fixture
def async_chat(stage: Stage) -> Any:
    """The class, of each implementation."""
    return stage.asynchat.async_chat


@pytest.fixture
def unchecked(own: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage whose passes check no channel, as if there were many."""
    monkeypatch.setitem(inside(own, "passes"), "CHECK_ALL_UP_TO", 0)
    return own


@pytest.fixture
def clock(own: Stage, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of ``own``, which only the test moves."""
    return Clock(own, monkeypatch)


def _checked(name: str) -> Iterator[Implementation]:
    """*name*'s implementation; the test must leave its ``socket_map`` empty."""
    loaded = load(name)
    yield loaded
    left = dict(loaded.asyncore.socket_map)
    loaded.asyncore.close_all(ignore_all=True)
    assert not left, f"channels left in socket_map: {left}"


if sys.version_info < (3, 12):
    # Loaded before any test changes the warning filters: the import itself warns.
    load("stdlib")
