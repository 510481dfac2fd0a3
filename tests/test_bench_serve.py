"""The benchmarks of bench/serve: that they do the work, and that they notice.

Nothing here is timed.  Every engine that is installed answers a few lines; a server that answers
wrongly, or not at all, is found out; and the command line shows what comes of it.
"""

from __future__ import annotations

import importlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import pytest

pytest.importorskip("resource", reason="bench/serve is for Linux")

from bench import compiled, tables
from bench.results import Sample
from bench.scan import run as scanning
from bench.serve import redis
from bench.serve import run as serving
from bench.serve.engines import ENGINES, HAS_STDLIB, Engine
from bench.serve.process import Failure, Server, Unfinished, choose_cpus
from bench.serve.workloads import WORKLOADS, Workload
from tests.support.building import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="bench/serve is for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]

# What has to run wherever the suite does; the others may be missing.
ALWAYS = {"fastchat", "fastchat-python", "asyncio-protocol", "asyncio-joined", "asyncio-streams"}
ALWAYS |= {"c"} | ({"stdlib"} if HAS_STDLIB else set())

# One turn on each connection, and a few idle ones.
PLAN = serving.Plan([], [], 1, seconds=0, warm_up=0, patience=5)

SMALL = {
    "echo": Workload("echo", "", connections=3, depth=4, size=20, idle=5),
    "churn": Workload("churn", "", load="churn", connections=3, size=20),
    "ingest": Workload("ingest", "", "ingest", "ingest", connections=2, size=1000),
    "bodies": Workload("bodies", "", "bodies", "bodies", "MB", connections=2, size=100_000),
    "downloads": Workload("downloads", "", "downloads", "downloads", "MB", 2, size=3_000_000),
}


def engine_and_load() -> list[Any]:
    """Every engine with echoes; everything else with one engine of each module."""
    pairs = [(engine.name, "echo") for engine in ENGINES.values()]
    modules = {engine.module: engine.name for engine in reversed(ENGINES.values())}
    pairs += [
        (name, load)
        for name in modules.values()
        for load, workload in SMALL.items()
        if load != "echo" and workload.service in ENGINES[name].services
    ]
    marks = {"fastchat": [pytest.mark.compiled]}
    return [pytest.param(*pair, marks=marks.get(pair[0], [])) for pair in pairs]


@pytest.fixture(scope="module")
def helpers() -> serving.Helpers:
    return serving.Helpers.build()


@pytest.fixture(scope="module")
def cpu() -> int:
    return choose_cpus()[0]


# The C programs.


@pytest.mark.parametrize("name", sorted(p.name for p in ROOT.glob("bench/**/*.c")))
def test_c_compiles_without_warnings(name: str, tmp_path: Path) -> None:
    (source,) = ROOT.glob(f"bench/**/{name}")
    flags = compiled.LIBRARY_FLAGS if name == "memchr.c" else ()
    made = compiled.build(source, "-Werror", *flags, to=tmp_path)
    assert made == compiled.build(source, "-Werror", *flags, to=tmp_path)


def test_what_does_not_compile_is_shown(tmp_path: Path) -> None:
    (tmp_path / "wrong.c").write_text("int main(void) { return nonsense; }\n")
    with pytest.raises(compiled.NoCompiler, match="nonsense"):
        compiled.build(tmp_path / "wrong.c", to=tmp_path)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(compiled.NoCompiler, match="no-such-compiler"):
        compiled.compiler()


# The engines.


@pytest.mark.parametrize(("name", "load"), engine_and_load())
def test_engine_does_its_work(name: str, load: str, helpers: serving.Helpers) -> None:
    engine, workload = ENGINES[name], SMALL[load]
    absence = engine.absence()
    if absence and name not in ALWAYS:
        pytest.skip(absence)
    sample = serving.measure(engine, workload, PLAN, choose_cpus(), helpers)
    assert sample.cpu > 0
    assert sample.rate > 0
    assert (sample.p50 is None) == (load == "ingest")
    assert (sample.memory is None) == (workload.idle == 0)


@pytest.mark.skipif(shutil.which("redis-benchmark") is None, reason="needs redis-benchmark")
def test_redis_benchmark_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "RATES", {1: 1})
    workload = replace(WORKLOADS["redis-1"], connections=3)
    server, load = choose_cpus()
    with redis.start(ENGINES["fastchat-python"], server) as started:
        assert redis.measure(started, workload, 0, load).cpu > 0


# Servers that do not do the work.

LIAR = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
def serve(connection):
    count = 0
    while data := connection.recv(65536):
        count += 1
        {lie}
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

LIES = {
    "another byte": ("connection.sendall(data[:-3] + b'X' + data[-2:])", "wrong reply"),
    "one byte more": ("connection.sendall(data + b'X')", "wrong reply|more than it was owed"),
    "an old line": ("first = data if count == 1 else first; connection.sendall(first)", "wrong"),
    "nothing of the kind": ("connection.sendall(b'1 2 3 4\\r\\n')", "wrong reply"),
    "the end": ("connection.close(); return", "closed by the server"),
    "half a reply, and the end": (
        "connection.sendall(data[:5]); connection.close(); return",
        "closed by the server",
    ),
}


def liar(lie: str, cpu: int) -> Server:
    return Server([sys.executable, "-c", LIAR.format(lie=lie)], cpu)


@pytest.mark.parametrize("lie", LIES)
def test_wrong_reply_or_close_is_a_failure(lie: str, helpers: serving.Helpers, cpu: int) -> None:
    code, complaint = LIES[lie]
    with pytest.raises(Failure, match=complaint), liar(code, cpu) as server:
        serving.apply_load(server, replace(SMALL["echo"], idle=0), PLAN, cpu, helpers)


@pytest.mark.parametrize("load", SMALL)
def test_every_load_notices_a_wrong_reply(load: str, helpers: serving.Helpers, cpu: int) -> None:
    lie = "connection.sendall(b'00000000000000000\\r\\n')"
    with pytest.raises(Failure, match=r"wrong reply|more than"), liar(lie, cpu) as server:
        serving.apply_load(server, SMALL[load], PLAN, cpu, helpers)


def test_silence_is_too_slow(helpers: serving.Helpers, cpu: int) -> None:
    plan = replace(PLAN, patience=1)
    with pytest.raises(Unfinished, match="no reply for 1 s"), liar("pass", cpu) as server:
        serving.apply_load(server, SMALL["churn"], plan, cpu, helpers)


def test_nobody_listens(helpers: serving.Helpers) -> None:
    words = ["service=echo", "port=1", f"pid={os.getpid()}"]
    done = subprocess.run([helpers.load, *words], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"cannot connect" in done.stderr


@pytest.mark.parametrize(
    "word", ["service=nothing", "connections=0", "size=1", "seconds=1000", "nonsense=1", "nonsense"]
)
def test_load_refuses_what_it_cannot_do(word: str, helpers: serving.Helpers) -> None:
    words = ["service=echo", "port=1", f"pid={os.getpid()}", word]
    done = subprocess.run([helpers.load, *words], capture_output=True, check=False)
    assert done.returncode == 2


PRINTING = "print('listening on 127.0.0.1:1', flush=True); {then}; import time; time.sleep(60)"


@pytest.mark.parametrize("then", ["print('oops', flush=True)", "raise SystemExit('oops')"])
def test_a_server_that_says_something_fails(then: str, cpu: int) -> None:
    server = Server([sys.executable, "-c", PRINTING.format(then=then)], cpu)
    with pytest.raises(Failure, match="oops"), server:
        assert select.select([server.output], [], [], 10)[0]


def test_a_server_that_does_not_listen_fails(cpu: int) -> None:
    server = Server([sys.executable, "-c", "raise SystemExit('no port left')"], cpu)
    with pytest.raises(Failure, match="no port left"), server:
        pass


def test_no_server_outlives_its_parent(cpu: int) -> None:
    idle = PRINTING.format(then="pass")
    program = f"""
import os, signal, sys
from bench.serve.process import Server
with Server([sys.executable, "-c", {idle!r}], {cpu}) as server:
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    end = time.monotonic() + 10
    while is_running(int(done.stdout)):
        assert time.monotonic() < end


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_cpu_time_is_that_of_getrusage(cpu: int) -> None:
    work = "import time\nwhile time.process_time() < 0.2: pass\n"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Server([sys.executable, "-c", work + PRINTING.format(then="pass")], cpu) as server:
        read = server.cpu_time()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert read >= 0.2
    assert read == pytest.approx(used, abs=0.1)


# Who is missing.


def _no_distribution(name: str) -> NoReturn:
    raise metadata.PackageNotFoundError(name)


def test_missing_peers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Engine("missing", "Somebody's server", "protocol", needs=("nosuch.module",))
    monkeypatch.setitem(ENGINES, "missing", missing)
    monkeypatch.setitem(ENGINES, "pyasynchat", replace(missing, name="pyasynchat", needs=()))
    # It is installed wherever the suite compares with it.
    monkeypatch.setattr(metadata, "distribution", _no_distribution)
    run = serving.Run(serving.Plan(["missing", "pyasynchat", "c"], ["ping-pong"], 1, 0))
    assert [engine for _, _, engine in run.steps()] == ["c"]
    assert run.results.absent["missing"] == "nosuch.module is not installed"
    assert run.results.absent["pyasynchat"]
    said = tables.overview(run.results).remarks
    assert "Left out: Somebody's server (nosuch.module is not installed)." in said


def test_too_few_descriptors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "allow_descriptors", lambda: 1024)
    run = serving.Run(serving.Plan(["c"], ["idle-10000", "ping-pong"], 1, 0))
    assert [workload for _, workload, _ in run.steps()] == ["ping-pong"]
    said = tables.overview(run.results).remarks
    assert any("needs 10,150 descriptors, and the limit is 1,024" in each for each in said)


def test_engines_take_turns() -> None:
    plan = serving.Plan([], ["ping-pong", "churn"], 2, 0)
    assert list(serving.schedule(plan, ["c", "stdlib"])) == [
        (1, "ping-pong", "stdlib"),
        (1, "ping-pong", "c"),
        (1, "churn", "stdlib"),
        (1, "churn", "c"),
        (2, "ping-pong", "c"),
        (2, "ping-pong", "stdlib"),
        (2, "churn", "c"),
        (2, "churn", "stdlib"),
    ]


def test_who_is_too_slow_once_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def measure(*arguments: object) -> Sample:
        calls.append(arguments)
        raise Unfinished("3 of 10 idle connections were open")

    monkeypatch.setattr(serving, "measure", measure)
    run = serving.Run(serving.Plan(["c"], ["ping-pong"], 2, 0))
    for _, workload, engine in run.steps():
        run.take(workload, engine)
    assert len(calls) == 1
    comparison = run.results.workloads["ping-pong"]
    assert comparison.samples == {"c": [None, None]}
    assert comparison.unfinished == {"c": "3 of 10 idle connections were open"}


# The command line.


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("rich")
    # What else runs here must not decide; test_bench_waited.py has that.
    monkeypatch.setattr("bench.results.QUIET", float("inf"))
    return importlib.import_module("bench.__main__")


RUN = ["serve", "--engine", "c", "--engine", "asyncio-protocol", "--workload", "ping-pong"]
RUN += ["--rounds", "1", "--seconds", "0.01"]


def test_a_run_from_end_to_end(
    command_line: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert command_line.main([*RUN, "--save", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ping-pong: 50 connections, one 32-byte line in flight" in said
    assert "asyncio Protocol" in said
    (kept,) = tmp_path.glob("*.json")
    assert kept.with_suffix(".svg").exists()
    assert command_line.main(["show", str(kept)]) == 0
    assert "Targets" in capsys.readouterr().out
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    page = tmp_path / "performance.md"
    assert command_line.main(["report", str(kept), "--document", str(page)]) == 0
    assert f"[{kept.name}]({kept.name})" in page.read_text(encoding="utf-8")


def test_missed_targets_are_an_error(command_line: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main([*RUN, "--targets"]) == 1
    assert "0 of 41 are met" in capsys.readouterr().out


def test_a_wrong_reply_ends_the_run(
    command_line: Any,
    cpu: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _ = LIES["an old line"]
    monkeypatch.setattr(serving, "start", lambda *_: liar(code, cpu))
    assert command_line.main(RUN) == 1
    output = capsys.readouterr()
    assert "asyncio Protocol, ping-pong: load: connection" in output.err
    assert "wrong reply" in output.err
    assert "CPU µs" not in output.out


def test_an_interrupted_run_shows_what_there_is(
    command_line: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measure = serving.measure

    def interrupted(engine: Engine, *rest: Any) -> Sample:
        if engine.name == "c":
            raise KeyboardInterrupt
        return measure(engine, *rest)

    monkeypatch.setattr(serving, "measure", interrupted)
    assert command_line.main([*RUN, "--save", str(tmp_path)]) == 130
    output = capsys.readouterr()
    assert "asyncio Protocol" in output.out
    assert "interrupted" in output.err
    assert not list(tmp_path.iterdir())


def test_quick_scan(command_line: Any, capsys: pytest.CaptureFixture[str]) -> None:
    given = [scanning.lines(32, b"\r\n", 65536)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "inputs", lambda is_quick: given)
        assert command_line.main(["scan", "--quick", "--rounds", "1"]) == 0
    assert "Cutting at \\r\\n, 64 KiB at once" in capsys.readouterr().out
