"""The example SMTP receiver, with swaks, smtplib, and bytes by hand.

tests/support/examples.py has the rules.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.channels import posix_only
from tests.support.examples import EXAMPLES, TIMEOUT, Client, Server, installed, run, running
from tests.support.implementations import FASTCHAT
from tests.support.servers import connected, needs_ipv6, program

pytestmark = posix_only

BIND = ("--bind", "127.0.0.1:0")
MAX_LINE = 65536
MAX_MESSAGE = 4 * 2**20
MAX_CONNECTIONS = 64


class Mail:
    """The Maildir of a server."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self) -> list[str]:
        """The messages that are there, whose envelope the header begins with; they are removed."""
        assert list(self.path.glob("tmp/*")) == list(self.path.glob("cur/*")) == []
        found = sorted(self.path.glob("new/*"), key=lambda path: path.stat().st_mtime_ns)
        texts = [path.read_bytes().decode("latin-1") for path in found]
        for path in found:
            path.unlink()
        return texts

    def bodies(self) -> list[str]:
        """What is in them behind the lines of the receiver."""
        return [re.split(r"Received: .*\n\t.*\n", text, maxsplit=1)[1] for text in self.take()]


@pytest.fixture(scope="module", params=FASTCHAT)
def name(request: pytest.FixtureRequest) -> str:
    """What the server runs on."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def started(name: str, directory: Path) -> Iterator[tuple[Server, Mail]]:
    path = directory / f"mail-{name}"
    with running(name, "smtp_receiver.py", directory, str(path), *BIND, plain=True) as server:
        yield server, Mail(path)


@pytest.fixture
def server(started: tuple[Server, Mail]) -> Server:
    return started[0]


@pytest.fixture
def mail(started: tuple[Server, Mail]) -> Iterator[Mail]:
    yield started[1]
    assert started[1].take() == []


@pytest.fixture
def client(client: Client, mail: Mail) -> Client:
    assert code(client) == 220
    return client


def code(client: Client) -> int:
    """The number of the next reply, of which each line has it."""
    lines = [client.line()]
    while lines[-1][3:4] == b"-":
        lines.append(client.line())
    (number,) = {line[:3] for line in lines}
    return int(number)


def ask(client: Client, *commands: str) -> list[int]:
    """Send *commands* at once, and return the numbers of the replies."""
    client.send("".join(f"{each}\r\n" for each in commands).encode("latin-1"))
    return [code(client) for _ in commands]


def begin(client: Client) -> None:
    """Go on until the message is wanted."""
    said = ask(client, "EHLO here", "MAIL FROM:<ann@x>", "RCPT TO:<bob@y>", "DATA")
    assert said == [250, 250, 250, 354]


def at_once(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def at_random(data: bytes) -> list[bytes]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    at = random.Random(seed)
    cuts = sorted(at.randrange(len(data)) for _ in range(20))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


Cut = Callable[[bytes], list[bytes]]
every_cut = pytest.mark.parametrize("cut", [at_once, byte_by_byte, at_random])


def test_it_is_short() -> None:
    assert len((EXAMPLES / "smtp_receiver.py").read_text().splitlines()) < 120


# Real clients.


@pytest.mark.parametrize("how", [["--pipeline"], ["--protocol", "SMTP"], []])
def test_swaks(server: Server, mail: Mail, how: list[str]) -> None:
    swaks = installed("swaks")
    text = "From: ann\nSubject: dots\n\n.\n..\n.x\nend\n"
    where = ["--server", "127.0.0.1", "--port", str(server.port), "--helo", "here.example"]
    who = ["--from", "ann@here.example", "--to", "bob@y,eve@z"]
    said = run(swaks, *where, *who, *how, "--data", text).decode()
    assert said.count("<-  250 ") == 5
    assert "<-  354 " in said
    assert "<-  221 " in said
    (found,) = mail.take()
    head, _, rest = found.partition("\n\tby ")
    assert head == (
        "Return-Path: <ann@here.example>\nDelivered-To: bob@y\nDelivered-To: eve@z\n"
        "Received: from here.example ([127.0.0.1])"
    )
    assert re.match(r"\S+; \w\w\w, .* [+-]\d\d\d\d\nFrom: ann\n", rest)
    assert rest.rstrip("\n").endswith("\nSubject: dots\n\n.\n..\n.x\nend")


def test_smtplib(server: Server, mail: Mail) -> None:
    text = "Subject: \u00e4\r\n\r\n.dot\r\n..two\r\n.\r\nFrom here\r\n" + "x" * 998 + "\r\n"
    with smtplib.SMTP("127.0.0.1", server.port, "here", TIMEOUT) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features == {"size": str(MAX_MESSAGE), "8bitmime": "", "pipelining": ""}
        for _ in range(2):
            smtp.sendmail("a@x", ["b@y"], text.encode("latin-1"), ["BODY=8BITMIME"])
        assert smtp.verify("bob")[0] == 252
        assert smtp.sendmail("", ["b@y", "postmaster"], b"one") == {}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.sendmail("a@x", ["no address"], b"one")
    wanted = text.replace("\r\n", "\n")
    assert mail.bodies() == [wanted, wanted, "one\n"]


def test_message_that_is_too_large(server: Server, mail: Mail) -> None:
    """The size that is said counts, and so does that of a message that says none."""
    line = b"x" * 8190 + b"\r\n"
    largest = line * (MAX_MESSAGE // len(line))
    assert len(largest) == MAX_MESSAGE
    with smtplib.SMTP("127.0.0.1", server.port, "here", TIMEOUT) as smtp:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            smtp.sendmail("a@x", ["b@y"], largest + b"\r\n")
        assert refused.value.smtp_code == 552
        smtp.helo()  # which has no SIZE
        smtp.esmtp_features.clear()
        smtp.does_esmtp = False
        with pytest.raises(smtplib.SMTPDataError) as too_large:
            smtp.sendmail("a@x", ["b@y"], largest + b"\r\n")
        assert too_large.value.smtp_code == 552
        assert mail.take() == []
        smtp.sendmail("a@x", ["b@y"], largest)
    assert mail.bodies() == [largest.decode().replace("\r\n", "\n")]


# Commands.

EHLO, MAIL, RCPT = "EHLO here", "MAIL FROM:<a@x>", "RCPT TO:<b@y>"

# What is said at once, and the numbers of the replies.
DIALOGUES: list[tuple[list[str], list[int]]] = [
    (["NOOP", "noop x", "NOOP  \t", "RSET", "VRFY bob", "QUIT"], [250] * 4 + [252, 221]),
    (["", " ", "HTTP/1.1", "EXPN list", "EHLOhere", "NO OP"], [500] * 6),
    (["NOOP\0", "N\u00d6OP", "NOOP\r", "\rNOOP", "NOOP\nNOOP", "\tNOOP"], [500] * 6),
    (["NOOP \u00e4", "NOOP \0", "NOOP \r", "VRFY x\nNOOP", "NOOP\r NOOP"], [501] * 4 + [500]),
    (["VRFY", "VRFY ", "RSET x", "DATA x", "QUIT x"], [501] * 5),
    (["EHLO", "HELO ", "HELO a b", "EHLO a\\b", "EHLO a(b)", "EHLO []"], [501] * 6),
    (["EHLO [127.0.0.1]", "HELO [IPv6:::1]", "ehlo a_b.example"], [250] * 3),
    ([MAIL, RCPT, "DATA", EHLO, RCPT, "DATA"], [503, 503, 503, 250, 503, 503]),
    ([EHLO, MAIL, "DATA", MAIL, RCPT], [250, 250, 503, 503, 250]),
    ([EHLO, MAIL, RCPT, "RSET", RCPT, MAIL], [250, 250, 250, 250, 503, 250]),
    ([EHLO, MAIL, RCPT, EHLO, "DATA", MAIL], [250, 250, 250, 250, 503, 250]),
    ([EHLO, "MAIL FROM:a@x", "MAIL FROM: <a@x>", "MAIL <a@x>", MAIL], [250, 501, 501, 501, 250]),
    ([EHLO, "MAIL FROM:<a@x", "MAIL FROM:<a@x>x", "MAIL FROM:<a b@x>"], [250, 501, 501, 501]),
    ([EHLO, "MAIL FROM:<a>", "MAIL FROM:<@>", "MAIL TO:<a@x>"], [250, 501, 501, 501]),
    ([EHLO, 'MAIL FROM:<"a b\\"> c"@x>', RCPT], [250, 250, 250]),
    ([EHLO, "mail from:<@one,@two:a@[127.0.0.1]> size=99 body=8bitmime", RCPT], [250, 250, 250]),
    ([EHLO, f"{MAIL} SIZE={MAX_MESSAGE}", RCPT], [250, 250, 250]),
    ([EHLO, f"{MAIL} SIZE={MAX_MESSAGE + 1}", RCPT, MAIL], [250, 552, 503, 250]),
    ([EHLO, f"{MAIL} SIZE=0 BODY=7BIT", f"{RCPT} SIZE=0", RCPT], [250, 250, 555, 250]),
    ([EHLO, f"{MAIL} SIZE=", f"{MAIL} SIZE=-1", f"{MAIL} BODY=x", MAIL], [250, 555, 555, 555, 250]),
    (
        [EHLO, f"{MAIL} RET=FULL SIZE=9", f"{MAIL} SIZE=9x", f"{MAIL} =", MAIL],
        [250] + [555] * 3 + [250],
    ),
    (
        [EHLO, f"{MAIL}  SIZE=9", f"{MAIL} SIZE=9 \r", f"{MAIL}SIZE=9", MAIL],
        [250] + [501] * 3 + [250],
    ),
    ([EHLO, MAIL, "RCPT TO:<>", "RCPT TO:<b>", "RCPT FROM:<a@x>"], [250, 250, 501, 501, 501]),
    (
        [EHLO, MAIL, f"{RCPT} NOTIFY=NEVER", "DATA", "rcpt to:<Postmaster>"],
        [250, 250, 555, 503, 250],
    ),
    ([EHLO, MAIL, *[RCPT] * 101, "NOOP"], [250, 250] + [250] * 100 + [452, 250]),
]


@pytest.mark.parametrize(("commands", "said"), DIALOGUES)
def test_commands(client: Client, commands: list[str], said: list[int]) -> None:
    """All at once, for a client may; what is refused leaves what was before as it is."""
    assert ask(client, *commands) == said


def test_nothing_is_answered_behind_quit(client: Client) -> None:
    client.send(b"QUIT\r\nNOOP\r\n")
    assert re.fullmatch(rb"221 .*\r\n", client.rest())


@every_cut
def test_pipelined(client: Client, mail: Mail, cut: Cut) -> None:
    """Two messages with all their commands, in one piece or in many: as many replies, in order."""
    one = "EHLO here\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\none\r\n.\r\n"
    two = "MAIL FROM:<c@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n\r\n..\r\n..two\r\n\r\n.\r\nQUIT\r\n"
    for piece in cut((one + two).encode()):
        client.send(piece)
    said = [code(client) for _ in range(10)]
    assert said == [250, 250, 250, 354, 250, 250, 250, 354, 250, 221]
    assert client.rest() == b""
    assert mail.bodies() == ["one\n", "\n.\n.two\n\n"]


# What could be taken for the end of a message.


@every_cut
@pytest.mark.parametrize(
    "end",
    [
        b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r",
        b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\x00.\n", b"\r\n.\n\r\n", b"\n\r.\n\r",
    ],
)  # fmt: skip
def test_no_message_is_smuggled(client: Client, mail: Mail, end: bytes, cut: Cut) -> None:
    begin(client)
    forged = b"MAIL FROM:<ceo@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nforged"
    for piece in cut(b"one" + end + forged + b"\r\n.\r\nNOOP\r\n"):
        client.send(piece)
    assert [code(client), code(client)] == [554, 250]
    assert ask(client, "DATA", MAIL, "QUIT") == [503, 250, 221]
    assert client.rest() == b""
    assert mail.take() == []


def test_dot_that_is_no_end(client: Client, mail: Mail) -> None:
    begin(client)
    client.send(b". \r\n.x\r\n...\r\nx.\r\n.\r\n")
    assert code(client) == 250
    assert mail.bodies() == [" \nx\n..\nx.\n"]


def test_message_without_a_line(client: Client, mail: Mail) -> None:
    begin(client)
    assert ask(client, ".") == [250]
    assert mail.bodies() == [""]


# Lines that are too long.


def test_long_command(client: Client, mail: Mail) -> None:
    """It is answered once, and costs the transaction nothing; what is in it is no command."""
    assert ask(client, EHLO, MAIL, RCPT) == [250] * 3
    assert ask(client, "x" * MAX_LINE, "x" * (MAX_LINE + 1), "x" * 200_000 + "\nRSET") == [500] * 3
    assert ask(client, "DATA", ".") == [354, 250]
    assert mail.bodies() == [""]


@pytest.mark.parametrize("piece", [" SIZE=1", " BODY=7BIT", " x", "@a", '"\\a', "@a:", "."])
@pytest.mark.parametrize("begin", ["MAIL FROM:<a@x>", "MAIL FROM:<", "RCPT TO:<b@y>", "RCPT TO:<"])
def test_long_command_costs_little(client: Client, begin: str, piece: str) -> None:
    """Its argument is looked at in linear time: these take milliseconds, or else far too long."""
    long = begin + piece * ((MAX_LINE - len(begin) - 1) // len(piece)) + "\0"
    start = time.monotonic()
    assert ask(client, *[long] * 8) == [501] * 8
    assert time.monotonic() - start < TIMEOUT


@pytest.mark.parametrize("end", [".", "QUIT\n.", "." * 200_000])
def test_long_line_in_a_message(client: Client, mail: Mail, end: str) -> None:
    begin(client)
    client.send(b"x" * MAX_LINE + b"\r\n" + b"y" * (MAX_LINE + 1) + end.encode() + b"\r\n")
    assert ask(client, ".") == [500]
    assert mail.take() == []
    begin(client)
    client.send(b"x" * MAX_LINE + b"\r\n")
    assert ask(client, ".") == [250]
    assert mail.bodies() == ["x" * MAX_LINE + "\n"]


# Ends.


@pytest.mark.parametrize("go", [Client.close, Client.reset, Client.end_input])
@pytest.mark.parametrize("size", [1, 100_000])
def test_client_that_goes(
    server: Server, client: Client, mail: Mail, go: Callable[[Client], None], size: int
) -> None:
    """A message that did not end is none."""
    begin(client)
    client.send(b"x\r\n" * size)
    go(client)
    with smtplib.SMTP("127.0.0.1", server.port, "here", TIMEOUT) as smtp:
        smtp.sendmail("a@x", ["b@y"], b"two")
    assert mail.bodies() == ["two\n"]


def test_stop(name: str, tmp_path: Path) -> None:
    """Who has sent a message hears that it is there; all hear that the server stops."""
    path = tmp_path / "mail"
    server = Server(name, "smtp_receiver.py", tmp_path / "errors", str(path), *BIND, plain=True)
    with ExitStack() as stack:
        stack.callback(server.kill)
        idle, amid, done = (stack.enter_context(closing(Client(server.port))) for _ in range(3))
        assert [code(each) for each in (idle, amid, done)] == [220] * 3
        begin(amid)
        begin(done)
        amid.send(b"one\r\n")
        done.send(b"two\r\n.\r\n")
        assert done.line() == b"250 the message is stored"
        server.process.send_signal(signal.SIGTERM)  # the other may be ignored since the start
        for each in (idle, amid, done):
            assert each.rest()[:4] == b"421 "
            each.close()  # for which the server waits
        assert server.process.wait(TIMEOUT) == 0
        assert server.errors.read_text() == ""
    assert Mail(path).bodies() == ["two\n"]


def test_mail_that_cannot_be_stored(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mail"
    server = Server(name, "smtp_receiver.py", tmp_path / "errors", str(path), *BIND, plain=True)
    with ExitStack() as stack:
        stack.callback(server.kill)
        client = stack.enter_context(closing(Client(server.port)))
        assert code(client) == 220
        shutil.rmtree(path / "tmp")
        begin(client)
        client.send(b"one\r\n.\r\n")
        assert code(client) == 451
        (path / "tmp").mkdir()
        begin(client)
        client.send(b"two\r\n.\r\n")
        assert code(client) == 250
        assert "a message could not be stored" in server.errors.read_text()
    assert Mail(path).bodies() == ["two\n"]


def test_more_connections_than_it_takes(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mail"
    server = Server(name, "smtp_receiver.py", tmp_path / "errors", str(path), *BIND, plain=True)
    with ExitStack() as stack:
        stack.callback(server.kill)
        clients = [
            stack.enter_context(closing(Client(server.port))) for _ in range(MAX_CONNECTIONS + 1)
        ]
        assert [code(each) for each in clients] == [220] * MAX_CONNECTIONS + [421]
        assert clients[-1].rest() == b""


# A server with another address, and, where one more argument says so, no room for large files.
CHANGED = """
    import mailbox, resource, sys

    sys.path.insert(0, sys.argv[1])
    import fastchat, smtp_receiver

    if sys.argv[4:]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    smtp_receiver.Receiver.maildir = mailbox.Maildir(sys.argv[2])
    ready = lambda server: print(*server.addresses, flush=True)
    sys.exit(fastchat.serve(smtp_receiver.Receiver, sys.argv[3], on_start=ready))
"""


@pytest.mark.parametrize(
    ("bind", "shown"),
    [pytest.param("[::1]:0", " ([IPv6:::1])", marks=needs_ipv6), ("unix:socket", "")],
)
def test_other_addresses(
    name: str, place: Path, bind: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    argv = [str(EXAMPLES), str(place / "mail"), bind]
    sent = b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<b@y>\r\nDATA\r\n.\r\nQUIT\r\n"
    with program(CHANGED, name, argv) as server:
        with connected(server.line()) as client, client.makefile("rb") as file:
            client.sendall(sent)
            assert file.read().splitlines()[-2] == b"250 the message is stored"
        server.signal()
        assert (server.status(), server.errors()) == (0, "")
    (found,) = Mail(place / "mail").take()
    assert found.startswith("Return-Path: <>\nDelivered-To: b@y\nReceived: from me" + shown + "\n")


@pytest.mark.parametrize(("size", "code"), [(150_000, 250), (3_000_000, 451)])
def test_no_room(name: str, tmp_path: Path, size: int, code: int) -> None:
    """What has no room is refused when it has ended, and the next message is taken."""
    argv = [str(EXAMPLES), str(tmp_path / "mail"), "127.0.0.1:0", "small"]
    text = ("x" * 999 + "\n") * (size // 1000) + "y" * (size % 1000)
    commands = (MAIL, RCPT)
    with program(CHANGED, name, argv) as server:
        host, _, port = server.line().rpartition(":")
        with smtplib.SMTP(host, int(port), "here", TIMEOUT) as smtp:
            smtp.ehlo()
            for sent, answered in ((text, code), ("two", 250)):
                assert [smtp.docmd(each)[0] for each in commands] == [250, 250]
                assert smtp.data(sent)[0] == answered
        server.signal()
        assert server.status() == 0
        assert ("could not be stored" in server.errors()) == (code == 451)
    stored = Mail(tmp_path / "mail").bodies()
    assert [len(body) for body in stored] == ([size, 4] if code == 250 else [4])
