"""``fastchat.prometheus``: what a scrape shows, of one server and of several, whoever scrapes."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fastchat
from fastchat import LineChannel, Server, asyncore
from tests.support.channels import PATIENCE, posix_only
from tests.support.documents import read
from tests.support.examples import installed, run
from tests.support.needed import needed
from tests.support.servers import LOCAL, connected, program

Prometheus = Any


class Shout(LineChannel):
    def line_received(self, line: bytes) -> bytes:
        if line == b"fail":
            raise ZeroDivisionError
        return line.upper()


@pytest.fixture
def prometheus() -> Prometheus:
    """``fastchat.prometheus``."""
    needed("prometheus_client", "PROMETHEUS")
    return needed("fastchat.prometheus", "PROMETHEUS")


@pytest.fixture
def registry(prometheus: Prometheus) -> Any:
    return prometheus.CollectorRegistry()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(Shout, LOCAL, map={}, max_memory=None)
    yield server
    server.abort()


def scraped(registry: Any) -> dict[str, float]:
    """Each line of a scrape, and its value."""
    client = needed("prometheus_client", "PROMETHEUS")
    lines = client.generate_latest(registry).decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: float(value) for name, _, value in pairs}


def serve_one(server: Server, *lines: bytes) -> None:
    """Let a client send *lines*, and end."""
    with connected(server.addresses[0]) as client:
        client.sendall(b"".join([line + b"\r\n" for line in lines]))
        client.shutdown(socket.SHUT_WR)
        accepted = server.stats().accepted
        for _ in range(50):
            asyncore.loop(0.1, True, server._map, 1)
            stats = server.stats()
            if stats.accepted > accepted and not stats.open:
                return
    raise AssertionError(server.stats())


CHANNEL = f'channel="{__name__}.Shout"'


def test_what_a_server_counts_is_shown(prometheus: Any, registry: Any, server: Server) -> None:
    prometheus.export(server, name="shop", registry=registry)
    before = scraped(registry)
    assert before['fastchat_server_state{fastchat_server_state="new",server="shop"}'] == 1
    assert before[f'fastchat_connections_accepted_total{{{CHANNEL},server="shop"}}'] == 0
    assert before['fastchat_max_memory_bytes{server="shop"}'] == float("inf")
    server.start()
    serve_one(server, b"hello", b"fail")
    after = scraped(registry)
    of_channel = {
        "connections": 0,
        "connections_accepted_total": 1,
        "received_bytes_total": 13,
        "sent_bytes_total": 7,
        "lines_total": 2,
        "lines_too_long_total": 0,
        "hook_errors_total": 1,
    }
    for name, value in of_channel.items():
        assert after[f'fastchat_{name}{{{CHANNEL},server="shop"}}'] == value, name
    assert after['fastchat_server_state{fastchat_server_state="running",server="shop"}'] == 1
    assert after['fastchat_server_state{fastchat_server_state="new",server="shop"}'] == 0
    assert after['fastchat_max_connections{server="shop"}'] > 0
    assert after['fastchat_uptime_seconds{server="shop"}'] > 0
    info = f'fastchat_info{{implementation="{fastchat.implementation}",version="0.1.0"}}'
    assert after[info] == 1
    assert before.keys() == after.keys()


def test_the_manual_has_each_metric(prometheus: Any, registry: Any, server: Server) -> None:
    prometheus.export(server, registry=registry)
    client = needed("prometheus_client", "PROMETHEUS")
    text = client.generate_latest(registry).decode()
    shown = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    in_the_manual = set(re.findall(r"^\| `(fastchat_\w+)`", read("docs/server.md"), re.MULTILINE))
    assert in_the_manual == shown
    for name in shown:
        labels = set(re.findall(rf"^{name}\{{(.*)\}}", text, re.MULTILINE))
        words = {word for each in labels for word in re.findall(r"(\w+)=", each)}
        (row,) = re.findall(rf"^\| `{name}` \|(.*?)\|", read("docs/server.md"), re.MULTILINE)
        assert words <= {*re.findall(r"`(\w+)`", row)}, name


def test_the_exposition_can_be_parsed(prometheus: Any, registry: Any, server: Server) -> None:
    parser = needed("prometheus_client.openmetrics.parser", "PROMETHEUS")
    openmetrics = needed("prometheus_client.openmetrics.exposition", "PROMETHEUS")
    prometheus.export(server, name='a"b\\c\nd', registry=registry)
    families = list(
        parser.text_string_to_metric_families(openmetrics.generate_latest(registry).decode())
    )
    assert len(families) > 15
    (connections,) = [each for each in families if each.name == "fastchat_connections"]
    assert connections.samples[0].labels["server"] == 'a"b\\c\nd'


def test_two_servers_in_one_registry(prometheus: Any, registry: Any) -> None:
    one, two = Server(Shout, LOCAL, map={}), Server(Shout, "127.0.0.1:0", "unix:/x", map={})
    prometheus.export(one, registry=registry)
    prometheus.export(two, registry=registry)
    prometheus.export(two, registry=registry)  # which changes nothing
    found = scraped(registry)
    assert found['fastchat_waiting_bytes{server="127.0.0.1:0"}'] == 0
    assert found['fastchat_waiting_bytes{server="127.0.0.1:0, unix:/x"}'] == 0
    third = Server(Shout, LOCAL, map={})
    with pytest.raises(ValueError, match=r"another server is exported as '127.0.0.1:0': give one"):
        prometheus.export(third, registry=registry)
    prometheus.export(third, name="third", registry=registry)
    prometheus.export(third, name="renamed", registry=registry)
    assert 'fastchat_waiting_bytes{server="third"}' not in scraped(registry)
    prometheus.withdraw(one, registry=registry)
    prometheus.withdraw(one, registry=registry)
    found = scraped(registry)
    assert [name for name in found if name.startswith("fastchat_waiting_bytes{")] == [
        'fastchat_waiting_bytes{server="127.0.0.1:0, unix:/x"}',
        'fastchat_waiting_bytes{server="renamed"}',
    ]


def test_a_scrape_after_the_stop_and_a_server_after_it(prometheus: Any, registry: Any) -> None:
    state = 'fastchat_server_state{{fastchat_server_state="{}",server="shop"}}'
    accepted = f'fastchat_connections_accepted_total{{{CHANNEL},server="shop"}}'
    first = Server(Shout, LOCAL, map={})
    prometheus.export(first, name="shop", registry=registry)
    first.start()
    serve_one(first, b"hello")
    first.abort()
    found = scraped(registry)
    assert (found[state.format("stopped")], found[accepted]) == (1, 1)
    second = Server(Shout, LOCAL, map={})
    prometheus.export(second, name="shop", registry=registry)
    second.start()
    found = scraped(registry)
    assert (found[state.format("running")], found[accepted]) == (1, 0)
    second.abort()


def test_a_server_that_nobody_has_is_not_shown(prometheus: Any, registry: Any) -> None:
    server = Server(Shout, LOCAL, map={})
    prometheus.export(server, name="shop", registry=registry)
    del server
    gc.collect()
    assert 'fastchat_waiting_bytes{server="shop"}' not in scraped(registry)
    prometheus.export(Server(Shout, LOCAL), name="shop", registry=registry)


def test_registries_are_apart(prometheus: Any, registry: Any, server: Server) -> None:
    other = prometheus.CollectorRegistry()
    prometheus.withdraw(server, registry=other)
    prometheus.export(server, name="one", registry=registry)
    prometheus.export(server, name="two", registry=other)
    assert 'fastchat_waiting_bytes{server="one"}' in scraped(registry)
    assert 'fastchat_waiting_bytes{server="two"}' in scraped(other)


def test_names_that_are_taken(prometheus: Any, registry: Any, server: Server) -> None:
    client = needed("prometheus_client", "PROMETHEUS")
    client.Gauge("fastchat_connections", "Somebody else's.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus.export(server, registry=registry)
    assert list(scraped(registry)) == ["fastchat_connections"]


def test_what_is_no_server(prometheus: Any, registry: Any) -> None:
    with pytest.raises(TypeError, match=r"a fastchat.Server is wanted, not 'shop'"):
        prometheus.export("shop", registry=registry)
    with pytest.raises(TypeError, match="name must be a str or None, not int"):
        prometheus.export(Server(Shout, LOCAL, map={}), name=8888, registry=registry)
    assert not [line for line in scraped(registry) if "server=" in line]


def test_a_name_that_utf_8_has_not_fails_no_scrape(prometheus: Any, registry: Any) -> None:
    kind = type("Shout", (Shout,), {"__module__": "m\udcfe"})
    path = "unix:/tmp/" + os.fsdecode(b"\xff")
    server = Server(kind, path, map={})
    prometheus.export(server, registry=registry)
    other = Server(kind, path.encode("utf-8", "backslashreplace").decode(), map={})
    with pytest.raises(ValueError, match="another server is exported as"):
        prometheus.export(other, registry=registry)
    found = scraped(registry)
    of_server = 'server="unix:/tmp/\\\\udcff"'
    assert found[f"fastchat_waiting_bytes{{{of_server}}}"] == 0
    assert found[f'fastchat_connections{{channel="m\\\\udcfe.Shout",{of_server}}}'] == 0


def test_records_that_were_left_out_are_shown(
    prometheus: Any, registry: Any, server: Server
) -> None:
    prometheus.export(server, registry=registry)
    name = 'fastchat_log_records_left_out_total{logger="fastchat.server"}'
    before = scraped(registry).get(name, 0)
    for _ in range(15):
        fastchat.server.logger.error("of the test")
    assert scraped(registry)[name] == before + 5


# Over HTTP.


def test_an_endpoint_answers_curl(prometheus: Any, registry: Any, server: Server) -> None:
    curl = installed("curl")
    prometheus.export(server, name="shop", registry=registry)
    with prometheus.endpoint(LOCAL, registry=registry) as url:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", url)
        assert b'fastchat_waiting_bytes{server="shop"} 0.0\n' in run(curl, "-sS", "--fail", url)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=PATIENCE)


def test_threads_scrape_while_a_server_serves(
    prometheus: Any, registry: Any, server: Server
) -> None:
    server.start()
    prometheus.export(server, name="shop", registry=registry)
    lines = f'fastchat_lines_total{{{CHANNEL},server="shop"}}'
    is_over = threading.Event()
    seen: list[list[float]] = []

    def scrape(values: list[float]) -> None:
        while not is_over.is_set():
            values.append(scraped(registry)[lines])

    threads = []
    for _ in range(4):
        seen.append([])
        threads.append(threading.Thread(target=scrape, args=(seen[-1],)))
    for each in threads:
        each.start()
    try:
        for _ in range(30):
            serve_one(server, *[b"hello"] * 20)
    finally:
        is_over.set()
        for each in threads:
            each.join()
    for values in seen:
        assert values == sorted(values)
    assert scraped(registry)[lines] == 600


@pytest.mark.parametrize(
    ("address", "kind", "said"),
    [
        (":0", ValueError, "cannot show metrics on ':0': it must be host:port, or"),
        ("unix:/x", ValueError, "cannot show metrics on 'unix:/x': it must be host:port"),
        ("nowhere", ValueError, "cannot listen on 'nowhere'"),
        ("192.0.2.1:0", OSError, r"cannot show metrics on 192\.0\.2\.1:0: "),
        ("no.such.name.invalid:0", OSError, r"cannot show metrics on no\.such\.name\.invalid:0: "),
    ],
)
def test_wrong_endpoints(prometheus: Any, address: str, kind: type[Exception], said: str) -> None:
    threads = threading.active_count()
    with pytest.raises(kind, match=said), prometheus.endpoint(address):
        pass
    assert threading.active_count() == threads


def test_an_endpoint_of_ipv6(prometheus: Any, registry: Any) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6")
    with (
        prometheus.endpoint("[::1]:0", registry=registry) as url,
        urllib.request.urlopen(url, timeout=PATIENCE) as answer,
    ):
        assert answer.status == 200


@posix_only
def test_the_thread_of_an_endpoint_takes_no_signal_that_stops(
    prometheus: Any, registry: Any
) -> None:
    blocked: list[Any] = []
    original = prometheus.prometheus_client.start_http_server

    def start(*arguments: Any) -> Any:
        blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prometheus.prometheus_client, "start_http_server", start)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with prometheus.endpoint(LOCAL, registry=registry):
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert {signal.SIGTERM, signal.SIGINT} <= blocked[0]


# Other processes.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
def test_a_forked_process_does_not_show_its_parents_server(prometheus: Any, ours: Any) -> None:
    code = """
        import os, sys
        from fastchat import LineChannel, Server
        from fastchat.prometheus import CollectorRegistry, export
        registry = CollectorRegistry()
        server = Server(LineChannel, "127.0.0.1:0", map={})
        export(server, name="shop", registry=registry)
        server.start()

        def look():
            return registry.get_sample_value("fastchat_waiting_bytes", {"server": "shop"})

        if not os.fork():
            own = Server(LineChannel, "127.0.0.1:0", map={})
            export(own, name="own", registry=registry)
            own.start()
            value = registry.get_sample_value("fastchat_waiting_bytes", {"server": "own"})
            print("child", look(), value, flush=True)
            own.abort()
            os._exit(0)
        os.wait()
        print("parent", look(), flush=True)
        server.abort()
    """
    with program(code, ours.name) as started:
        assert started.line() == "child None 0"
        assert started.line() == "parent 0"
        assert started.status() == 0
        assert "Error" not in started.errors()


def test_without_prometheus_client(
    prometheus: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "fastchat.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r"pip install 'fast-asynchat\[prometheus\]'"):
        needed("fastchat.prometheus", "PROMETHEUS")
