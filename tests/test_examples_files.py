"""The example file server, with large files and clients that go.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.examples import TIMEOUT, Client, Connect, Server, running, settle

DOWNLOAD_SIZE = 50 * 1000 * 1000


class Files:
    """What the file server serves, and what lies beside it."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        self.contents = {"small": b"a few bytes\r\n", "empty": b"", "sub/inner": b"inside"}
        self.contents["big"] = os.urandom(1_000_000) * (DOWNLOAD_SIZE // 1_000_000)
        (self.root / "sub").mkdir()
        for name, content in self.contents.items():
            (self.root / name).write_bytes(content)
        (directory / "secret").write_bytes(b"secret")
        (directory / "root-2").mkdir()
        (directory / "root-2" / "secret").write_bytes(b"secret")
        (self.root / "out").symlink_to(directory / "secret")
        (self.root / "up").symlink_to(directory)
        (self.root / "in").symlink_to(self.root / "small")
        (self.root / "loop").symlink_to(self.root / "loop")

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.contents[name]).hexdigest()


def open_files(server: Server, path: Path) -> int:
    """How many descriptors the server holds of a file."""
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    if not descriptors.exists():
        pytest.skip("this system does not show the open files of a process")
    names = []
    for descriptor in descriptors.iterdir():
        with suppress(FileNotFoundError):  # closed after it was listed
            names.append(os.readlink(descriptor))
    return names.count(str(path))


def wait_until_closed(server: Server, path: Path, bystander: Client) -> None:
    """Nothing tells when the server notices that a client is gone, so ask it to look."""
    deadline = time.monotonic() + TIMEOUT
    while open_files(server, path):
        assert time.monotonic() < deadline, f"{path} is still open"
        settle(bystander, b"GET missing\r\n")


@pytest.fixture(scope="module")
def files(directory: Path) -> Files:
    return Files(directory)


@pytest.fixture(scope="module")
def file_server(engine: str, directory: Path, files: Files) -> Iterator[Server]:
    with running(engine, "file_server.py", directory, "--root", str(files.root)) as server:
        yield server


class TestFileServer:
    @pytest.fixture
    def server(self, file_server: Server) -> Server:
        return file_server

    def test_big_download(self, client: Client, files: Files) -> None:
        client.send(b"SHA256 big\r\nGET big\r\nQUIT\r\n")
        assert client.line().decode() == f"OK {files.digest('big')}"
        assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
        assert hashlib.sha256(client.exactly(DOWNLOAD_SIZE)).hexdigest() == files.digest("big")
        assert client.rest() == b"OK\r\n"

    def test_client_that_stops_sending_gets_its_file(self, client: Client, files: Files) -> None:
        client.send(b"GET big\r\n")
        client.end_input()
        assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
        assert len(client.rest()) == DOWNLOAD_SIZE

    def test_answers_come_in_order(self, client: Client, files: Files) -> None:
        for name in ("small", "empty", "sub/inner", "in"):
            client.send(f"GET {name}\r\n".encode())
        client.send(b"LIST\r\nBREW\r\nGET missing\r\nSHA256 missing\r\nGET sub\r\nQUIT\r\nLIST\r\n")
        small = files.contents["small"]
        assert client.rest() == (
            b"OK 13\r\n"
            + small
            + b"OK 0\r\n"
            + b"OK 6\r\ninside"
            + b"OK 13\r\n"
            + small
            + b"OK 3\r\nbig\r\nempty\r\nsmall\r\n"
            + b"ERR no such command\r\n"
            + b"ERR no such file\r\n" * 3
            + b"OK\r\n"
        )

    @pytest.mark.parametrize(
        "name",
        [
            "../secret",
            "sub/../../secret",
            "out",
            "up/secret",
            "{up}/secret",
            "../root-2/secret",
            "loop",
            "",
            ".",
            "/",
            "/etc/passwd",
            "small\0",
            "\udcff",
        ],
    )
    def test_no_name_leads_out(self, client: Client, files: Files, name: str) -> None:
        path = name.replace("{up}", str(files.root.parent)).encode("utf-8", "surrogateescape")
        client.send(b"GET " + path + b"\r\nSHA256 " + path + b"\r\n")
        assert client.line().startswith(b"ERR ")
        assert client.line().startswith(b"ERR ")

    def test_others_are_served_during_a_download(self, client: Client, connect: Connect) -> None:
        client.send(b"GET big\r\n")
        assert client.line().startswith(b"OK ")
        bystander = connect()
        bystander.send(b"GET small\r\n")
        assert bystander.line() == b"OK 13"

    def test_one_open_file_for_a_client(
        self, client: Client, connect: Connect, server: Server, files: Files
    ) -> None:
        bystander = connect()
        wait_until_closed(server, files.root / "big", bystander)
        client.send(b"GET big\r\n" * 500)
        assert client.line().startswith(b"OK ")
        settle(bystander, b"GET missing\r\n")
        assert open_files(server, files.root / "big") == 1

    @pytest.mark.parametrize("go", [Client.close, Client.reset])
    def test_file_is_closed_when_its_client_goes_away(
        self,
        client: Client,
        connect: Connect,
        server: Server,
        files: Files,
        go: Callable[[Client], None],
    ) -> None:
        bystander = connect()
        wait_until_closed(server, files.root / "big", bystander)
        client.send(b"GET big\r\n" * 3)
        assert client.line().startswith(b"OK ")
        assert open_files(server, files.root / "big") == 1
        go(client)
        wait_until_closed(server, files.root / "big", bystander)

    def test_long_line_ends_the_connection(self, client: Client) -> None:
        client.send(b"GET " + b"x" * 4096 + b"\r\nLIST\r\n")
        assert client.rest() == b"ERR line too long\r\n"

    def test_file_that_becomes_shorter_breaks_the_connection(
        self, engine: str, tmp_path: Path
    ) -> None:
        shrinking = tmp_path / "shrinking"
        shrinking.write_bytes(bytes(DOWNLOAD_SIZE))
        with running(
            engine, "file_server.py", tmp_path, "--root", str(tmp_path), log="EOFError"
        ) as server:
            client = Client(server.port)
            client.send(b"GET shrinking\r\nLIST\r\n")
            assert client.line().decode() == f"OK {DOWNLOAD_SIZE}"
            os.truncate(shrinking, 10)
            assert not client.rest().strip(b"\0")
            client.close()
