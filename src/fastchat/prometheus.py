"""What servers count, for Prometheus, by ``prometheus_client``: ``export(server)``.

Rules this file keeps:

* A registry has one collector, however many servers it shows: no name of a metric comes twice.
* A scrape reads what the loop has counted, and waits for nothing: any thread may scrape.
* A server that nobody has any more, or that is the parent's of a forked process, is not shown.
* A counter goes down only where a server has the name of one that has stopped, as after a restart.

The names of metrics and of their labels:
https://github.com/fastchat/fastchat/blob/main/docs/server.md#prometheus
"""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import fastchat
from fastchat._addresses import understood
from fastchat._reports import limiter
from fastchat._stop_signals import STOPPING
from fastchat.server import Server, ServerStats

try:
    import prometheus_client
    from prometheus_client.core import (
        REGISTRY,
        CollectorRegistry,
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
        Metric,
        StateSetMetricFamily,
    )
except ImportError as _missing:
    raise ImportError(
        "fastchat.prometheus needs prometheus_client: pip install 'fast-asynchat[prometheus]'"
    ) from _missing

__all__ = ["endpoint", "export", "withdraw"]

_STATES = ("new", "running", "suspended", "stopping", "stopped")


class _Row(NamedTuple):
    """A metric: its name, what it says, and the fields of the statistics that it shows.

    Where there is a *label*, each field has a value of it.
    """

    name: str
    text: str
    fields: dict[str, str]
    label: str = ""


# Of the channels of one class in a server: counters, and one gauge.
_CONNECTIONS = _Row("fastchat_connections", "Connections that are there now.", {"open": ""})
_OF_CHANNELS = (
    _Row("fastchat_connections_accepted", "Connections that came so far.", {"accepted": ""}),
    _Row("fastchat_received_bytes", "Bytes that were received.", {"received": ""}),
    _Row("fastchat_sent_bytes", "Bytes that the kernel took.", {"sent": ""}),
    _Row("fastchat_lines", "Lines that hooks were given.", {"lines": ""}),
    _Row("fastchat_lines_too_long", "Lines dropped by max_line.", {"lines_too_long": ""}),
    _Row("fastchat_hook_errors", "Exceptions that left a hook.", {"hook_errors": ""}),
    _Row(
        "fastchat_connections_ended",
        "Connections that a limit has ended.",
        {"over_max_output": "max_output", "over_max_memory": "max_memory"},
        "limit",
    ),
    _Row(
        "fastchat_timeouts",
        "Deadlines that have passed.",
        {"idle_timeouts": "idle", "line_timeouts": "line", "write_timeouts": "write"},
        "deadline",
    ),
)
# Of a server: counters, and gauges.
_OF_SERVERS = (
    _Row(
        "fastchat_connections_refused",
        "Connections that a limit has kept out.",
        {"over_max_connections": "max_connections", "over_max_per_address": "max_per_address"},
        "limit",
    ),
    _Row("fastchat_channels_failed", "Connections without a channel: it raised.", {"failed": ""}),
    _Row("fastchat_accept_shortages", "Times without a descriptor or memory.", {"exhausted": ""}),
)
_GAUGES = (
    _Row("fastchat_waiting_bytes", "Input and output that waits now.", {"memory": ""}),
    _Row("fastchat_waiting_bytes_peak", "The most that has waited.", {"most_memory": ""}),
    _Row("fastchat_max_connections", "The limit of connections.", {"max_connections": ""}),
    _Row("fastchat_max_memory_bytes", "The limit of what waits.", {"max_memory": ""}),
    _Row("fastchat_uptime_seconds", "Since the server has started.", {"uptime": ""}),
)


class _Collector:
    """Shows the servers that were exported to one registry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, weakref.ref[Server]] = {}

    def add(self, server: Server, name: str) -> None:
        with self._lock:
            self._forget_the_lost()
            found = self._servers.get(name)
            other = None if found is None else found()
            if other is not None and other is not server and other.stats().state != "stopped":
                raise ValueError(f"another server is exported as {name!r}: give one a name")
            self._remove(server)
            self._servers[name] = weakref.ref(server)

    def remove(self, server: Server) -> None:
        with self._lock:
            self._remove(server)

    def _forget_the_lost(self) -> None:
        self._servers = {n: ref for n, ref in self._servers.items() if ref() is not None}

    def _remove(self, server: Server) -> None:
        self._servers = {n: ref for n, ref in self._servers.items() if ref() is not server}

    def describe(self) -> Iterable[Metric]:
        """The metrics, without values: from them a registry knows which names are taken."""
        return self._metrics({})

    def collect(self) -> Iterable[Metric]:
        """The metrics of all servers, as they are now."""
        found = {}
        for name, ref in list(self._servers.items()):  # a dict that is replaced, and not changed
            server = ref()
            if server is not None and server._pid in (0, os.getpid()):
                found[name] = server.stats()
        return self._metrics(found)

    def _metrics(self, found: dict[str, ServerStats]) -> list[Metric]:
        version = {"version": fastchat.__version__, "implementation": fastchat.implementation}
        metrics: list[Metric] = [InfoMetricFamily("fastchat", "The library.", version)]
        metrics.append(_of_channels(GaugeMetricFamily, _CONNECTIONS, found))
        metrics += [_of_channels(CounterMetricFamily, row, found) for row in _OF_CHANNELS]
        metrics += [_of_servers(CounterMetricFamily, row, found) for row in _OF_SERVERS]
        metrics += [_of_servers(GaugeMetricFamily, row, found) for row in _GAUGES]
        state = StateSetMetricFamily("fastchat_server_state", "What it does.", labels=["server"])
        for name, stats in found.items():
            state.add_metric([name], {each: each == stats.state for each in _STATES})
        text = "Records that the log has not, since there were many of their kind."
        left_out = CounterMetricFamily("fastchat_log_records_left_out", text, labels=["logger"])
        for logger, count in limiter.left_out.copy().items():
            left_out.add_metric([logger], count)
        return [*metrics, state, left_out]


def _of_channels(kind: Any, row: _Row, found: dict[str, ServerStats]) -> Metric:
    metric: Metric = kind(row.name, row.text, labels=["server", "channel", *_labels(row)])
    for name, stats in found.items():
        for channel in stats.channels:
            _add(metric, row, [name, _encodable(channel.name)], channel)
    return metric


def _of_servers(kind: Any, row: _Row, found: dict[str, ServerStats]) -> Metric:
    metric: Metric = kind(row.name, row.text, labels=["server", *_labels(row)])
    for name, stats in found.items():
        _add(metric, row, [name], stats)
    return metric


def _encodable(label: str) -> str:
    """*label* in characters that UTF-8 has: a path of other bytes would fail each scrape."""
    return label.encode("utf-8", "backslashreplace").decode()


def _labels(row: _Row) -> list[str]:
    return [row.label] if row.label else []


def _add(metric: Any, row: _Row, labels: list[str], stats: Any) -> None:
    for field, value in row.fields.items():
        number = getattr(stats, field)
        metric.add_metric(
            [*labels, value] if row.label else labels, float("inf") if number is None else number
        )


_collectors: weakref.WeakKeyDictionary[CollectorRegistry, _Collector] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def export(
    server: Server, *, name: str | None = None, registry: CollectorRegistry = REGISTRY
) -> None:
    """Show *server* to whoever scrapes *registry*, from now on, before its start or after.

    *name* is the label ``server`` of its metrics, by default the addresses it listens on, as it was
    given them.  It is shown until ``withdraw``, or until nobody has it any more; under the name of
    one that has stopped another may follow.

    Raises TypeError where it is no Server or *name* no str, ValueError where another one has the
    name, or the registry has metrics of these names from elsewhere.
    """
    if not isinstance(server, Server):
        raise TypeError(f"a fastchat.Server is wanted, not {server!r}")
    if name is None:
        name = ", ".join([place.text for place in server._places])
    elif not isinstance(name, str):
        raise TypeError(f"name must be a str or None, not {type(name).__name__}")
    name = _encodable(name)
    with _lock:
        collector = _collectors.get(registry)
        if collector is None:
            collector = _Collector()
            registry.register(collector)
            _collectors[registry] = collector
    collector.add(server, name)


def withdraw(server: Server, *, registry: CollectorRegistry = REGISTRY) -> None:
    """Show *server* no more; one that was not shown stays so."""
    with _lock:
        collector = _collectors.get(registry)
    if collector is not None:
        collector.remove(server)


@contextmanager
def endpoint(address: str, *, registry: CollectorRegistry = REGISTRY) -> Iterator[str]:
    """A context in which *registry* can be scraped at *address*, ``"host:port"``; gives the URL.

    A thread of ``prometheus_client`` answers, also while a hook takes long.  It has no limits of
    its own: let it listen where nobody but Prometheus comes.

    Raises ValueError where *address* means nothing, OSError where it cannot be had.
    """
    place = understood(address)
    if place.port is None or not place.host:
        raise ValueError(
            f"cannot show metrics on {address!r}: it must be host:port, or [IPv6]:port"
        )
    with _signals_blocked():
        try:
            server, thread = prometheus_client.start_http_server(place.port, place.host, registry)
        except OSError as failure:
            reason = f"cannot show metrics on {address}: {failure.strerror or failure}"
            raise OSError(failure.errno, reason) from None
    try:
        host = f"[{place.host}]" if ":" in place.host else place.host
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """What stops a server wakes its own thread, and none that is started here."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover (Windows)
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
