"""What the installed wheel does: which implementation it runs, and in what company."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

import fastchat
from tests.support.building import ROOT
from tests.support.implementations import AUTOMATIC
from tests.support.wheels import Wheel, compiled_modules
from tests.wheel.conftest import Ask

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()

# A line there and back, over sockets, through the modules of one import.
SERVE = """
import socket

class Server:
    def __init__(self, fastchat):
        class Channel(fastchat.asynchat.async_chat):
            def __init__(self, sock):
                super().__init__(sock, map={})
                self.set_terminator((b";", b"\\r\\n"))
                self.line = b""

            def collect_incoming_data(self, data):
                self.line += data

            def found_terminator(self):
                self.push(self.line.upper() + b"\\n")
                self.line = b""

        ours, self.client = socket.socketpair()
        self.loop = fastchat.asyncore.loop
        self.channel = Channel(ours)

    def answer(self, line):
        self.client.sendall(line)
        self.loop(timeout=1, count=1, map=self.channel._map)
        self.loop(timeout=1, count=1, map=self.channel._map)
        return self.client.recv(100)

    def close(self):
        self.channel.close()
        self.client.close()
"""

IMPORT = "import fastchat; print(fastchat.implementation, fastchat.__version__)"

GIL = "import sys, fastchat; print(fastchat.implementation, sys._is_gil_enabled())"

AGAIN = """
import sys
import fastchat

old = Server(fastchat)
for name in [name for name in sys.modules if name.partition(".")[0] == "fastchat"]:
    del sys.modules[name]
first = fastchat
import fastchat

assert fastchat is not first and fastchat.asynchat is not first.asynchat
new = Server(fastchat)
print(fastchat.implementation == first.implementation)
for _ in range(2):
    print(old.answer(b"old\\r\\n"), new.answer(b"new;"))
old.close()
new.close()
"""

# Prints the sources from which a profiler or a tracer is told something, from the import on: what
# is built for tracing tells it when a module begins.
TRACED = """
import sys

seen = set()

def hook(frame, event, argument):
    seen.add(frame.f_code.co_filename)
    return hook

def monitor(code, *arguments):
    seen.add(code.co_filename)

sys.setprofile(hook)
sys.settrace(hook)
if sys.version_info >= (3, 13):
    events = sys.monitoring.events
    sys.monitoring.use_tool_id(4, "proof")
    for event in (events.PY_START, events.LINE):
        sys.monitoring.register_callback(4, event, monitor)
    sys.monitoring.set_events(4, events.PY_START | events.LINE)
import fastchat
server = Server(fastchat)
server.answer(b"line;")
server.close()
if sys.version_info >= (3, 13):
    sys.monitoring.set_events(4, 0)
sys.settrace(None)
sys.setprofile(None)
print(fastchat.implementation)
for file in seen:
    print(file)
"""


def test_what_runs_is_this_wheel(wheel: Wheel) -> None:
    installed = importlib.metadata.distribution("fast-asynchat")
    place = Path(fastchat.__file__).parent.parent
    assert installed.locate_file("fastchat") == place / "fastchat"
    assert not place.is_relative_to(ROOT / "src")
    inside = {name for name in wheel.names if name.startswith("fastchat/")}
    for name in inside:
        assert (place / name).read_bytes() == wheel.read(re.escape(name))
    files = (path for path in (place / "fastchat").rglob("*") if path.is_file())
    found = {path.relative_to(place).as_posix() for path in files if path.suffix != ".pyc"}
    assert found == inside


def test_import_says_nothing(wheel: Wheel, ask: Ask) -> None:
    implementation = "python" if wheel.is_pure else AUTOMATIC
    assert ask(IMPORT) == f"{implementation} {fastchat.__version__}\n"


@pytest.mark.compiled
def test_compiled_is_there_when_it_is_asked_for(ask: Ask) -> None:
    answer = ask(IMPORT, FASTCHAT_IMPLEMENTATION="cython")
    assert answer == f"cython {fastchat.__version__}\n"


@pytest.mark.skipif(HAS_GIL, reason="the GIL is on before anything is imported")
def test_import_leaves_the_gil_off(ask: Ask) -> None:
    assert ask(GIL) == "python False\n"


@pytest.mark.compiled
@pytest.mark.skipif(HAS_GIL, reason="the GIL is on before anything is imported")
def test_compiled_modules_leave_the_gil_off(ask: Ask) -> None:
    # That they would turn it on is a warning of the interpreter's, and here an error; PYTHON_GIL
    # would keep it off whatever they say.
    assert ask(GIL, FASTCHAT_IMPLEMENTATION="cython", PYTHON_GIL="") == "cython False\n"


@pytest.mark.parametrize(
    "implementation", [pytest.param("cython", marks=pytest.mark.compiled), "python"]
)
def test_imported_again_after_it_was_thrown_away(implementation: str, ask: Ask) -> None:
    answer = ask(SERVE + AGAIN, FASTCHAT_IMPLEMENTATION=implementation)
    assert answer == "True\n" + 2 * "b'OLD\\n' b'NEW\\n'\n"


@pytest.mark.compiled
def test_nothing_is_traced(ask: Ask) -> None:
    implementation, *files = ask(SERVE + TRACED, FASTCHAT_IMPLEMENTATION="cython").splitlines()
    assert implementation == "cython"
    # It did see what is not compiled.
    assert [file for file in files if file.endswith("asynchat.py")]
    compiled = tuple(f"fastchat/{name}.py" for name in compiled_modules())
    plain = (file.replace("\\", "/").removesuffix("x") for file in files)
    assert not [file for file in plain if file.endswith(compiled)]
