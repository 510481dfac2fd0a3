"""``install()`` and ``uninstall()``: the old names, taken and given back.

The rule they keep is that ``sys.modules`` changes completely or not at all, and that only what is
fastchat's own is taken back.  Each test begins as a program does, with neither of the old names
imported, and leaves ``sys.modules`` and ``sys.meta_path`` as they were.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import smtplib
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastchat
from fastchat import aliases
from tests.implementations import FASTCHAT

OLD = ("asyncore", "asynchat")

since_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.11 has smtpd")
until_3_11 = pytest.mark.skipif(sys.version_info >= (3, 12), reason="smtpd left Python in 3.12")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Neither installed nor imported before the test; everything back in its place after it."""
    modules, finders = dict(sys.modules), list(sys.meta_path)
    for name in (*OLD, "smtpd"):
        sys.modules.pop(name, None)
    yield
    aliases._replaced = None
    sys.meta_path[:] = finders
    for name in (*OLD, "smtpd"):
        if name in modules:
            sys.modules[name] = modules[name]
        else:
            sys.modules.pop(name, None)


def imported(name: str) -> Any:
    """What ``import`` gives, which on 3.11 may be the standard library's, with its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


def state() -> tuple[dict[str, Any], list[Any]]:
    """All that install() may change."""
    return {name: sys.modules.get(name) for name in OLD}, list(sys.meta_path)


def other(name: str, file: str | None = None) -> ModuleType:
    """A module that somebody else has imported under *name*."""
    module = ModuleType(name)
    if file is not None:
        module.__file__ = file
    sys.modules[name] = module
    return module


# ---------------------------------------------------------------------------------------------
# install().
# ---------------------------------------------------------------------------------------------


def test_installed_modules_are_what_an_import_finds() -> None:
    fastchat.install()
    assert importlib.import_module("asyncore") is fastchat.asyncore
    assert importlib.import_module("asynchat") is fastchat.asynchat
    # Their names for each other are not changed by it.
    assert fastchat.asynchat.asyncore is fastchat.asyncore
    assert fastchat.asyncore.__name__ == "fastchat.asyncore"


def test_an_import_does_not_warn() -> None:
    # As of 3.11 the standard library's modules do; here every warning is an error.
    fastchat.install()
    for name in OLD:
        importlib.import_module(name)


def test_modules_that_are_there_already_are_no_obstacle() -> None:
    sys.modules["asyncore"] = fastchat.asyncore
    fastchat.install()
    assert sys.modules["asynchat"] is fastchat.asynchat


@pytest.mark.parametrize("taken", [("asyncore",), ("asynchat",), OLD], ids="-".join)
def test_other_modules_are_refused_by_name_and_nothing_changes(taken: tuple[str, ...]) -> None:
    for name in taken:
        other(name, f"/elsewhere/{name}.py")
    before = state()
    with pytest.raises(RuntimeError, match="were imported before") as caught:
        fastchat.install()
    assert state() == before
    for name in OLD:
        assert (f"{name} (/elsewhere/{name}.py)" in str(caught.value)) == (name in taken)
    # And what to do about it.
    assert "replace=True" in str(caught.value)


def test_a_refusal_leaves_nothing_to_uninstall() -> None:
    other("asynchat", "/elsewhere/asynchat.py")
    with pytest.raises(RuntimeError, match="imported before"):
        fastchat.install()
    with pytest.raises(RuntimeError, match="not installed"):
        fastchat.uninstall()
    del sys.modules["asynchat"]
    fastchat.install()


def test_a_module_without_a_file_is_refused_too() -> None:
    other("asyncore")
    with pytest.raises(RuntimeError, match=r"asyncore \(built in\)"):
        fastchat.install()


def test_other_modules_are_replaced_if_told() -> None:
    old = other("asyncore")
    fastchat.install(replace=True)
    assert sys.modules["asyncore"] is fastchat.asyncore
    assert sys.modules["asynchat"] is fastchat.asynchat
    fastchat.uninstall()
    assert sys.modules["asyncore"] is old
    assert "asynchat" not in sys.modules


def test_replace_can_only_be_given_by_name() -> None:
    with pytest.raises(TypeError):
        fastchat.install(True)  # type: ignore[call-arg]
    assert "asyncore" not in sys.modules


@pytest.mark.parametrize("replace", [False, True])
def test_installing_twice_is_refused_and_nothing_is_lost(replace: bool) -> None:
    old = other("asyncore")
    fastchat.install(replace=True)
    before = state()
    with pytest.raises(RuntimeError, match="called already"):
        fastchat.install(replace=replace)
    assert state() == before
    # What the first one put aside comes back.
    fastchat.uninstall()
    assert sys.modules["asyncore"] is old


# ---------------------------------------------------------------------------------------------
# uninstall().
# ---------------------------------------------------------------------------------------------


def test_uninstall_leaves_things_as_they_were() -> None:
    before = state()
    fastchat.install()
    assert state() != before
    fastchat.uninstall()
    assert state() == before


def test_uninstall_without_install_is_refused() -> None:
    before = state()
    with pytest.raises(RuntimeError, match="not installed"):
        fastchat.uninstall()
    assert state() == before


def test_uninstall_counts_once() -> None:
    fastchat.install()
    fastchat.uninstall()
    with pytest.raises(RuntimeError, match="not installed"):
        fastchat.uninstall()


def test_install_again_after_uninstall() -> None:
    fastchat.install()
    fastchat.uninstall()
    fastchat.install()
    assert sys.modules["asyncore"] is fastchat.asyncore


@pytest.mark.parametrize("replaced", [False, True], ids=["nothing replaced", "replaced"])
def test_what_somebody_else_has_taken_stays_theirs(replaced: bool) -> None:
    if replaced:
        other("asyncore")
    fastchat.install(replace=True)
    theirs = other("asyncore")
    fastchat.uninstall()
    assert sys.modules["asyncore"] is theirs
    assert "asynchat" not in sys.modules


@pytest.mark.parametrize("replaced", [False, True], ids=["nothing replaced", "replaced"])
def test_a_name_that_somebody_else_removed_stays_away(replaced: bool) -> None:
    if replaced:
        other("asyncore")
    fastchat.install(replace=True)
    del sys.modules["asyncore"]
    fastchat.uninstall()
    assert "asyncore" not in sys.modules
    assert "asynchat" not in sys.modules


def test_uninstall_bears_a_finder_that_somebody_removed() -> None:
    finders = list(sys.meta_path)
    fastchat.install()
    sys.meta_path[:] = finders
    fastchat.uninstall()
    assert sys.meta_path == finders


# ---------------------------------------------------------------------------------------------
# smtpd, which stands on both.
# ---------------------------------------------------------------------------------------------


@since_3_12
def test_smtpd_says_where_it_is_to_be_had() -> None:
    fastchat.install()
    with pytest.raises(ModuleNotFoundError, match="pip install standard-smtpd") as caught:
        importlib.import_module("smtpd")
    assert str(caught.value).startswith("No module named 'smtpd'")
    assert caught.value.name == "smtpd"


@since_3_12
def test_a_program_that_can_do_without_smtpd_does() -> None:
    fastchat.install()
    try:
        importlib.import_module("smtpd")
    except ImportError:
        found = False
    assert not found


@since_3_12
def test_other_modules_that_are_missing_are_just_missing() -> None:
    fastchat.install()
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'no_such_module'$"):
        importlib.import_module("no_such_module")
    assert importlib.util.find_spec("no_such_module") is None


@since_3_12
def test_smtpd_is_just_missing_when_fastchat_is_uninstalled() -> None:
    fastchat.install()
    fastchat.uninstall()
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'smtpd'$"):
        importlib.import_module("smtpd")


@since_3_12
def test_an_smtpd_that_is_installed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smtpd.py").write_text("import asyncore, asynchat")
    monkeypatch.syspath_prepend(tmp_path)
    fastchat.install()
    smtpd: Any = importlib.import_module("smtpd")
    assert smtpd.__file__ == str(tmp_path / "smtpd.py")
    assert smtpd.asyncore is fastchat.asyncore
    assert smtpd.asynchat is fastchat.asynchat


@pytest.mark.parametrize("version", [(3, 11), (3, 12)], ids=["3.11", "3.12"])
def test_smtpd_is_looked_for_last_and_only_where_it_left(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    finders = list(sys.meta_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", version)
        fastchat.install()
    assert sys.meta_path[: len(finders)] == finders
    assert len(sys.meta_path) == len(finders) + (version == (3, 12))
    fastchat.uninstall()
    assert sys.meta_path == finders


def test_the_finder_knows_of_smtpd_only() -> None:
    assert aliases._finder.find_spec("asyncore") is None
    with pytest.raises(ModuleNotFoundError, match="standard-smtpd"):
        aliases._finder.find_spec("smtpd")


@until_3_11
def test_smtpd_delivers_a_mail() -> None:
    fastchat.install()
    smtpd = imported("smtpd")
    assert fastchat.asyncore.dispatcher in smtpd.SMTPServer.__mro__
    assert fastchat.asynchat.async_chat in smtpd.SMTPChannel.__mro__
    mails = []
    base: Any = smtpd.SMTPServer

    class Server(base):  # type: ignore[misc]
        def process_message(
            self, peer: Any, mailfrom: str, rcpttos: list[str], data: bytes, **_: Any
        ) -> None:
            mails.append((mailfrom, rcpttos, data))

    channels: dict[int, Any] = {}
    server = Server(("127.0.0.1", 0), None, map=channels)
    client = threading.Thread(target=send_mail, args=(server.socket.getsockname(),))
    client.start()
    try:
        while client.is_alive():
            fastchat.asyncore.loop(timeout=0.01, map=channels, count=1)
    finally:
        fastchat.asyncore.close_all(channels, ignore_all=True)
        client.join()
    assert mails == [("from@example.org", ["to@example.org"], b"Subject: lines\n\n.one\ntwo")]


def send_mail(address: tuple[str, int]) -> None:
    with smtplib.SMTP(*address, timeout=10) as client:
        text = "Subject: lines\r\n\r\n.one\r\ntwo\r\n"
        client.sendmail("from@example.org", ["to@example.org"], text)


# ---------------------------------------------------------------------------------------------
# As a program does it.
# ---------------------------------------------------------------------------------------------

PROGRAM = """
import fastchat
fastchat.install()
import asynchat, asyncore

class Line(asynchat.async_chat):
    collect_incoming_data = asynchat.async_chat._collect_incoming_data

    def found_terminator(self):
        print(self._get_data().decode(), fastchat.implementation)
        self.close()

import socket
one, other = asyncore.socket.socketpair()
line = Line(one)
line.set_terminator(b"\\n")
other.sendall(b"hello\\n")
asyncore.loop(timeout=10)
other.close()
print(Line.__mro__[2].__module__, asyncore.socket_map)
"""


@pytest.mark.parametrize("implementation", FASTCHAT)
def test_a_program_runs_on_it(implementation: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=os.environ | {"FASTCHAT_IMPLEMENTATION": implementation},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout == f"hello {implementation}\nfastchat.asyncore {{}}\n"
