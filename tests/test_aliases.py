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
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastchat
from fastchat import aliases
from tests.support.implementations import FASTCHAT

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
    if aliases._replaced is not None:
        fastchat.uninstall()
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


def run_program(text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What comes of a program of its own, to which every warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


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
def test_installing_twice_is_nothing_new_and_nothing_is_lost(replace: bool) -> None:
    old = other("asyncore")
    fastchat.install(replace=True)
    before = state()
    fastchat.install(replace=replace)
    assert state() == before
    # What the first one put aside comes back.
    fastchat.uninstall()
    assert sys.modules["asyncore"] is old


def test_installing_twice_takes_back_a_name_that_was_lost() -> None:
    fastchat.install()
    del sys.modules["asyncore"]
    fastchat.install()
    assert sys.modules["asyncore"] is fastchat.asyncore
    theirs = other("asynchat")
    with pytest.raises(RuntimeError, match="imported before"):
        fastchat.install()
    assert sys.modules["asynchat"] is theirs
    fastchat.install(replace=True)
    assert sys.modules["asynchat"] is fastchat.asynchat
    fastchat.uninstall()
    assert sys.modules["asynchat"] is theirs
    assert "asyncore" not in sys.modules


def test_installing_twice_in_a_forked_worker_is_nothing_new() -> None:
    done = run_program("""
        import os, sys
        import fastchat
        fastchat.install()
        if os.fork() == 0:
            fastchat.install()
            import asyncore
            print(asyncore.__name__)
            sys.stdout.flush()
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """)
    assert (done.stdout, done.stderr) == ("fastchat.asyncore\n0\n", "")


# ---------------------------------------------------------------------------------------------
# A program that throws modules away, and imports them again.
# ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [importlib.import_module, imported, __import__])
@pytest.mark.parametrize("name", OLD)
def test_a_module_that_is_imported_again_is_fastchats(name: str, again: Any) -> None:
    fastchat.install()
    ours = sys.modules.pop(name)
    spec = ours.__spec__
    assert again(name) is ours
    assert sys.modules[name] is ours
    # By which importlib.reload() knows it.
    assert ours.__spec__ is spec


def test_a_module_that_is_reloaded_is_fastchats() -> None:
    fastchat.install()
    asyncore = importlib.import_module("asyncore")
    assert importlib.reload(asyncore) is fastchat.asyncore
    assert sys.modules["asyncore"] is fastchat.asyncore


def test_what_is_found_by_name_is_fastchats() -> None:
    fastchat.install()
    del sys.modules["asyncore"]
    spec = importlib.util.find_spec("asyncore")
    assert spec is not None
    assert spec.origin == fastchat.asyncore.__file__
    made = importlib.util.module_from_spec(spec)
    assert made is fastchat.asyncore
    assert spec.loader is not None
    spec.loader.exec_module(made)
    assert made.__spec__.name == "fastchat.asyncore"  # type: ignore[union-attr]


def test_a_module_of_this_name_in_a_package_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").touch()
    (tmp_path / "a_package" / "asyncore.py").write_text("mine = True")
    monkeypatch.syspath_prepend(tmp_path)
    fastchat.install()
    assert importlib.import_module("a_package.asyncore").mine


def test_after_uninstall_it_is_what_it_was_before() -> None:
    fastchat.install()
    fastchat.uninstall()
    try:
        asyncore = imported("asyncore")
    except ModuleNotFoundError:
        asyncore = None
    assert asyncore is not fastchat.asyncore


# ---------------------------------------------------------------------------------------------
# Held output, which is off where a program does not know of fastchat.
# ---------------------------------------------------------------------------------------------


def test_install_leaves_every_push_its_send() -> None:
    fastchat.install()
    assert fastchat.asynchat.async_chat.ac_out_coalesce is False
    fastchat.uninstall()
    assert fastchat.asynchat.async_chat.ac_out_coalesce is True


def test_install_holds_output_if_it_is_asked() -> None:
    fastchat.install(coalesce=True)
    assert fastchat.asynchat.async_chat.ac_out_coalesce is True
    fastchat.install()  # another one asked already
    assert fastchat.asynchat.async_chat.ac_out_coalesce is True


def test_install_holds_output_if_it_is_asked_later() -> None:
    fastchat.install()
    fastchat.install(coalesce=True)
    assert fastchat.asynchat.async_chat.ac_out_coalesce is True


COALESCE = """
    import fastchat
    from fastchat import asynchat
    class Own(asynchat.async_chat):
        ac_out_coalesce = True
    print(asynchat.async_chat.ac_out_coalesce)
    fastchat.install(coalesce={asked})
    print(asynchat.async_chat.ac_out_coalesce)
    fastchat.uninstall()
    print(asynchat.async_chat.ac_out_coalesce)
"""


@pytest.mark.parametrize(
    ("value", "asked", "seen"),
    [
        ("", False, "True False True"),
        ("", True, "True True True"),
        ("0", False, "False False False"),
        ("0", True, "False False False"),
        ("1", False, "True True True"),
    ],
)
def test_the_environment_says_who_holds_output(value: str, asked: bool, seen: str) -> None:
    done = run_program(COALESCE.format(asked=asked), FASTCHAT_COALESCE=value)
    assert (done.stdout.split(), done.stderr) == (seen.split(), "")


def test_the_environment_cannot_say_anything_else() -> None:
    done = run_program("import fastchat", FASTCHAT_COALESCE="yes")
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: FASTCHAT_COALESCE is 'yes'; it may be 0, 1 or not set"


# ---------------------------------------------------------------------------------------------
# uninstall().
# ---------------------------------------------------------------------------------------------


def test_uninstall_leaves_things_as_they_were() -> None:
    before = state()
    fastchat.install()
    assert state() != before
    fastchat.uninstall()
    assert state() == before


@pytest.mark.parametrize("before", [True, False])
def test_uninstall_puts_back_whether_output_is_held(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastchat.asynchat.async_chat, "ac_out_coalesce", before)
    for coalesce in (False, True):
        fastchat.install(coalesce=coalesce)
    fastchat.uninstall()
    assert fastchat.asynchat.async_chat.ac_out_coalesce is before


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
    behind_the_first = sys.meta_path[1:]
    assert behind_the_first[: len(finders)] == finders
    assert len(behind_the_first) == len(finders) + (version == (3, 12))
    fastchat.uninstall()
    assert sys.meta_path == finders


def test_each_finder_knows_its_own_names_only() -> None:
    assert aliases._smtpd.find_spec("asyncore") is None
    assert aliases._old_names.find_spec("smtpd") is None
    with pytest.raises(ModuleNotFoundError, match="standard-smtpd"):
        aliases._smtpd.find_spec("smtpd")


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
    done = run_program(PROGRAM, FASTCHAT_IMPLEMENTATION=implementation)
    assert done.stderr == ""
    assert done.stdout == f"hello {implementation}\nfastchat.asyncore {{}}\n"


@pytest.mark.parametrize("words", [{"replace": 1}, {"coalesce": "0"}, {"coalesce": None}], ids=repr)
def test_install_takes_true_and_false_only(words: dict[str, Any]) -> None:
    before = fastchat.asynchat.async_chat.ac_out_coalesce
    name, value = next(iter(words.items()))
    with pytest.raises(
        TypeError, match=rf"install\({name}=...\) takes True or False, not {value!r}"
    ):
        fastchat.install(**words)
    assert fastchat.asynchat.async_chat.ac_out_coalesce is before


def test_the_package_has_its_public_names_also_those_it_imports_when_asked() -> None:
    for name in fastchat.__all__:
        assert getattr(fastchat, name) is not None
    assert {*fastchat.__all__} <= {*dir(fastchat)}
    assert fastchat.install is aliases.install
    with pytest.raises(AttributeError, match="module 'fastchat' has no attribute 'instal'"):
        _ = fastchat.instal  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
