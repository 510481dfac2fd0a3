"""Where a server listens: what an address means, what is opened for it, and what is left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from fastchat import _binding
from fastchat._addresses import Place, shown, understood
from tests.support.channels import Stage, posix_only
from tests.support.servers import (
    ECHO,
    LOCAL,
    channels,
    client_of,
    connected,
    linux_only,
    needs_ipv6,
    program,
    received,
    server_of,
)

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")

UNDERSTOOD = [
    ("127.0.0.1:8888", (8888, "127.0.0.1", "")),
    ("localhost:0", (0, "localhost", "")),
    (":8888", (8888, "", "")),
    ("*:8888", (8888, "", "")),
    ("[::1]:65535", (65535, "::1", "")),
    ("[fe80::1%eth0]:1", (1, "fe80::1%eth0", "")),
    ("unix:/run/a b.sock", (None, "", "/run/a b.sock")),
    ("unix:relative", (None, "", "relative")),
]

REFUSED = [
    ("", ValueError, "it must be host:port"),
    ("8888", ValueError, "it must be host:port"),
    ("localhost", ValueError, "it must be host:port"),
    ("localhost:http", ValueError, "it must be host:port"),
    ("localhost:-1", ValueError, "it must be host:port"),
    ("localhost: 1", ValueError, "it must be host:port"),
    ("local host:1", ValueError, "it must be host:port"),
    ("localhost:1\n", ValueError, "it must be host:port"),
    ("localhost:\u0663", ValueError, "it must be host:port"),
    ("[::1]", ValueError, "it must be host:port"),
    ("tcp://localhost:1", ValueError, "IPv6 addresses stand in brackets"),
    ("localhost:65536", ValueError, "a port is a number from 0 to 65535"),
    ("::1:80", ValueError, "IPv6 addresses stand in brackets"),
    ("[127.0.0.1]:80", ValueError, "only IPv6 addresses stand in brackets"),
    ("unix:", ValueError, "unix: is followed by a path"),
    ("unix:/a\0b", ValueError, "unix: is followed by a path"),
    (b"localhost:1", TypeError, "it must be host:port"),
    (("127.0.0.1", 1), TypeError, "it must be host:port"),
    (8888, TypeError, "it must be host:port"),
]


@pytest.mark.parametrize(("text", "expected"), UNDERSTOOD)
def test_what_an_address_means(text: str, expected: tuple[Any, ...]) -> None:
    port, host, path = expected
    assert understood(text) == Place(text, port, host, path)


@pytest.mark.parametrize(("what", "kind", "said"), REFUSED)
def test_what_no_address_is(what: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match="cannot listen on") as caught:
        understood(what)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_datagram_socket_is_refused() -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="it must be a stream socket"),
    ):
        understood(sock)


@pytest.mark.skipif(sys.platform != "linux", reason="addresses that are no files are Linux's")
def test_an_address_of_another_kind_is_shown_as_it_is() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("\0fastchat-test-%d" % os.getpid())  # noqa: UP031 (a NUL in an f-string)
        assert shown(sock) == repr(sock.getsockname())


# TCP.


def test_port_0_is_a_free_one(own: Stage) -> None:
    server = server_of(own, channels(own), LOCAL, LOCAL)
    ports = [int(address.removeprefix("127.0.0.1:")) for address in server.addresses]
    assert len({*ports, 0}) == 3
    for number in range(2):
        client_of(own, server, number).sendall(b"hello\r\n")
    own.until(lambda: server.stats().accepted == 2, use_poll=True)


@needs_ipv6
def test_no_host_means_ipv4_and_ipv6_with_one_port(own: Stage) -> None:
    server = server_of(own, channels(own), ":0")
    port = server.addresses[0].rpartition(":")[2]
    assert server.addresses == (f"0.0.0.0:{port}", f"[::]:{port}")
    for host in ("127.0.0.1", "::1"):
        own.client((host, int(port)))
    own.until(lambda: server.stats().accepted == 2, use_poll=True)


@needs_ipv6
def test_ipv6_alone_leaves_the_port_of_ipv4(own: Stage) -> None:
    server = server_of(own, channels(own), "[::]:0")
    port = int(server.addresses[0].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        own.client(("::1", port))
        own.until(lambda: server.stats().accepted == 1, use_poll=True)


def test_a_port_that_is_free_in_one_family_only_is_tried_again(
    own: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    monkeypatch.setattr(_binding, "_resolve", lambda place: both)
    # With which Linux lets two bind to one port, as long as none listens.
    monkeypatch.setattr(socket, "SO_REUSEADDR", socket.SO_KEEPALIVE)
    opened: list[_binding.Bound] = []
    with pytest.raises(OSError, match=r"cannot listen on :0: .*in use"):
        _binding._open_tcp(understood(":0"), opened)
    assert not opened


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EMFILE])
def test_a_family_that_is_not_there(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    original = socket.socket

    def without_ipv6(family: int = -1, *args: Any, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return original(family, *args, **options)

    both, one = understood(":0"), understood("[::1]:0")
    monkeypatch.setattr(socket, "has_ipv6", True)
    monkeypatch.setattr(socket, "socket", without_ipv6)
    opened: list[_binding.Bound] = []
    if number == errno.EMFILE:
        with pytest.raises(OSError, match="cannot listen on :0"):
            _binding._open_tcp(both, opened)
    else:
        _binding._open_tcp(both, opened)
        (bound,) = opened
        assert bound.sock.family == socket.AF_INET
        bound.close()
        with pytest.raises(OSError, match=r"cannot listen on \[::1\]:0"):
            _binding._open_tcp(one, opened)


def test_without_ipv6_no_host_means_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert _binding._resolve(understood(":0")) == [(socket.AF_INET, ("0.0.0.0", 0))]


@pytest.mark.parametrize("address", ["192.0.2.1:0", "nobody.invalid:0", "a..b:0", "x" * 70 + ":0"])
def test_an_address_that_cannot_be_had(own: Stage, address: str) -> None:
    server = own.implementation.server.Server(channels(own), LOCAL, address, map=own.map)
    with pytest.raises(OSError, match="cannot listen on") as caught:
        server.start()
    assert address in str(caught.value.strerror)
    assert not own.map


# All or nothing.


def test_nothing_is_half_started(own: Stage, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, own.new_socket() as given:
        given.bind(("127.0.0.1", 0))
        free = given.getsockname()
        path = place / "socket"
        unix = [f"unix:{path}"] if hasattr(socket, "AF_UNIX") else []
        bind = [LOCAL, given, *unix, f"127.0.0.1:{taken.getsockname()[1]}"]
        server = own.implementation.server.Server(channels(own), *bind, map=own.map)
        with pytest.raises(OSError, match=r"cannot listen on 127.0.0.1:\d+") as caught:
            server.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert not own.map
        assert not path.exists()
        assert server.addresses == ()
        assert given.getsockname() == free
        assert given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    # It can be tried again, now that the port is free.
    unix_or_local = [*unix, LOCAL]
    server = server_of(own, channels(own), *unix_or_local)
    assert len(server.addresses) == len(unix_or_local)


def test_a_socket_that_is_given(own: Stage) -> None:
    sock = own.new_socket()
    sock.bind(("127.0.0.1", 0))
    server = server_of(own, channels(own), sock)
    assert server.addresses == (f"127.0.0.1:{sock.getsockname()[1]}",)
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)
    assert not sock.getblocking()
    server.abort()
    assert sock.fileno() == -1


def test_a_socket_that_was_closed_is_refused(own: Stage) -> None:
    sock = socket.socket()
    sock.close()
    server = own.implementation.server.Server(channels(own), sock, map=own.map)
    with pytest.raises(OSError, match="cannot listen on <socket"):
        server.start()


@posix_only
def test_descriptors_are_not_inherited(own: Stage) -> None:
    server = server_of(own, channels(own))
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)
    assert not any(os.get_inheritable(fd) for fd in own.map)


# Unix sockets.


@needs_unix
def test_a_unix_socket_is_served_and_removed(own: Stage, place: Path) -> None:
    path = place / "socket"
    server = server_of(own, channels(own), f"unix:{path}")
    assert server.addresses == (f"unix:{path}",)
    client = client_of(own, server)
    client.sendall(b"hello\r\n")
    client.shutdown(socket.SHUT_WR)
    assert received(own, client) == b"hello\r\n"
    server.abort()
    assert not path.exists()


@needs_unix
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_of_a_unix_socket(own: Stage, place: Path, mode: int) -> None:
    path = place / "socket"
    server_of(own, channels(own), f"unix:{path}", unix_mode=mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@needs_unix
def test_a_mode_that_cannot_be_set_leaves_nothing(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chmod(path: str, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path = place / "socket"
    monkeypatch.setattr(os, "chmod", chmod)
    with pytest.raises(OSError, match="cannot listen on unix:"):
        server_of(own, channels(own), f"unix:{path}", unix_mode=0o600)
    assert not path.exists()


@needs_unix
def test_a_stale_socket_is_replaced(own: Stage, place: Path) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = server_of(own, channels(own), f"unix:{path}")
    client_of(own, server)
    own.until(lambda: server.stats().accepted == 1, use_poll=True)


@needs_unix
@pytest.mark.parametrize(
    "backlog", [pytest.param(0, marks=linux_only), 5]
)  # BSD says of a full backlog that nobody is there
def test_a_socket_where_somebody_answers_is_left(own: Stage, place: Path, backlog: int) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(backlog)
        if not backlog:  # it answers nobody any more, and is alive
            own.keep(connected(f"unix:{path}"))
        with pytest.raises(OSError, match="somebody answers there") as caught:
            server_of(own, channels(own), f"unix:{path}")
        assert caught.value.errno == errno.EADDRINUSE
        assert path.exists()


@needs_unix
def test_a_socket_of_datagrams_is_left(own: Stage, place: Path) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        with pytest.raises(OSError, match="somebody answers there"):
            server_of(own, channels(own), f"unix:{path}")


@needs_unix
def test_a_file_that_is_no_socket_is_left(own: Stage, place: Path) -> None:
    path = place / "socket"
    path.write_text("precious")
    with pytest.raises(OSError, match="there is a file that is no socket"):
        server_of(own, channels(own), f"unix:{path}")
    assert path.read_text() == "precious"


@needs_unix
@pytest.mark.parametrize(
    ("result", "said"), [(errno.ENOENT, "in use"), (errno.EACCES, "ermission denied")]
)
def test_a_socket_that_goes_or_cannot_be_asked(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch, result: int, said: str
) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    monkeypatch.setattr(socket.socket, "connect_ex", lambda sock, address: result)
    with pytest.raises(OSError, match=said):
        server_of(own, channels(own), f"unix:{path}")
    assert path.exists()


@needs_unix
def test_the_socket_of_a_later_server_is_left(own: Stage, place: Path) -> None:
    path = place / "socket"
    server = server_of(own, channels(own), f"unix:{path}")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as later:
        later.bind(str(path))
        server.abort()
        assert path.exists()


@needs_unix
def test_a_socket_file_that_has_gone(own: Stage, place: Path) -> None:
    path = place / "socket"
    server = server_of(own, channels(own), f"unix:{path}")
    path.unlink()
    server.abort()
    assert not path.exists()


@needs_unix
def test_a_socket_file_that_cannot_be_removed_does_no_harm(
    own: Stage, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of(own, channels(own), f"unix:{place / 'socket'}")

    def unlink(path: str) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "unlink", unlink)
    server.abort()
    assert server.stats().state == "stopped"


@needs_unix
@pytest.mark.parametrize("path", ["x" * 200, "missing/socket"])
def test_a_path_that_cannot_be_had(own: Stage, place: Path, path: str) -> None:
    with pytest.raises(OSError, match="cannot listen on unix:"):
        server_of(own, channels(own), f"unix:{place / path}")


def test_where_there_are_no_unix_sockets(own: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(OSError, match="this system has no Unix sockets"):
        server_of(own, channels(own), "unix:/tmp/x")


# systemd.

# Puts what the parent has opened where the service manager would.
HANDED_OVER = (
    ECHO
    + """
    for number, fd in enumerate(sys.argv[2:]):
        os.dup2(int(fd), 3 + number)
    if sys.argv[1]:
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = sys.argv[1]

    def ready(server):
        print(*server.addresses, "LISTEN_PID" in os.environ, os.get_inheritable(3), flush=True)

    try:
        sys.exit(fastchat.serve(Echo, "systemd", *BEHIND, on_start=ready))
    except OSError as failure:
        still_there = [os.fstat(3 + number) for number in range(len(sys.argv) - 2)]
        print(failure.strerror, "LISTEN_PID" in os.environ, flush=True)
        fastchat.Server(Echo, "systemd").abort()
"""
)


def handed_over(
    ours: Any, *sockets: socket.socket, count: str | None = None, behind: tuple[str, ...] = ()
) -> Any:
    source = HANDED_OVER.replace("BEHIND", repr(behind))
    count = str(len(sockets)) if count is None else count
    # High numbers, which those of systemd do not collide with.
    given = [os.dup2(sock.fileno(), 100 + number) for number, sock in enumerate(sockets)]
    return program(source, ours.name, argv=[count, *map(str, given)], pass_fds=given)


@posix_only
def test_sockets_of_systemd(ours: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        handed_over(ours, one, two) as server,
    ):
        *addresses, has_names, is_inherited = server.line().split()
        assert addresses == [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two)]
        assert (has_names, is_inherited) == ("False", "False")
        for address in addresses:
            answers(address)
        server.signal()
        assert server.status() == 0


def answers(address: str) -> None:
    with connected(address) as client:
        client.sendall(b"hello\r\n")
        assert client.recv(100) == b"hello\r\n"


@posix_only
@pytest.mark.parametrize("count", ["", "0", "x", "-1"])
def test_without_sockets_of_systemd(ours: Any, count: str) -> None:
    with handed_over(ours, count=count) as server:
        assert "LISTEN_FDS and LISTEN_PID hand over no sockets to this process" in server.line()
        assert server.status() == 0


@posix_only
def test_what_systemd_hands_over_must_listen(ours: Any) -> None:
    with socket.socket() as sock, handed_over(ours, sock) as server:
        said = server.line()
        assert "cannot listen on descriptor 3 of systemd: it is no stream socket that" in said
        assert said.endswith("True")
        assert server.status() == 0


@posix_only
def test_what_systemd_hands_over_must_be_a_socket(ours: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        handed_over(ours, sock, count="9") as server,
    ):
        assert server.line().startswith("cannot listen on descriptor ")
        assert server.status() == 0


@posix_only
def test_sockets_of_systemd_outlive_a_failed_start(ours: Any) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as sock,
        handed_over(ours, sock, behind=("192.0.2.1:0",)) as server,
    ):
        assert server.line().startswith("cannot listen on 192.0.2.1:0")
        assert server.status() == 0
