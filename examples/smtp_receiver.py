"""An SMTP server that puts mail into a Maildir: RFC 5321, with SIZE, 8BITMIME and PIPELINING.

`python examples/smtp_receiver.py MAILDIR`, then `swaks --server 127.0.0.1:8025 --to ann@localhost`.
It takes mail for everybody.  A bare CR or LF ends nothing, and a message with one is refused.
"""

import argparse
import logging
import mailbox
import re
import socket
from email.utils import formatdate

import fastchat
from fastchat import Reply

HOST = socket.gethostname().encode()
MAX_SIZE = 4 * 2**20  # bytes of a message, which is in memory until it has ended
EXTENSIONS = [b"250-SIZE %d" % MAX_SIZE, b"250-8BITMIME", b"250 PIPELINING"]
CLIENT = rb"([\w.-]{1,255}|\[[\w.:]{1,255}\])"
ADDRESS = rb"""(?:[\w.!#$%&'*+/=?^`{|}~-]+|"(?:[ !#-[\]-~]|\\[ -~])*")@(?:[\w.-]+|\[[\w.:]+\])"""
KNOWN, UNKNOWN = rb"(?: (?:SIZE=(\d{1,20})|BODY=(?:7BIT|8BITMIME))(?!\S))*+", rb"((?: [!-~]+)*+)"
# A command: its argument (a route is left out; "*+" keeps a match linear), the stages in which it
# may come (0 at first, 1 after EHLO, 2 after MAIL, 3 after RCPT), and the reply when it is done.
COMMANDS: dict[bytes, tuple[bytes, set[int], Reply]] = {
    b"EHLO": (CLIENT, {0, 1, 2, 3}, [b"250-" + HOST, *EXTENSIONS]),
    b"HELO": (CLIENT, {0, 1, 2, 3}, b"250 " + HOST),
    b"MAIL": (rb"FROM:<(?:@[\w.,@-]+:)?(|%b)>%b%b" % (ADDRESS, KNOWN, UNKNOWN), {1}, b"250 OK"),
    b"RCPT": (rb"TO:<(?:@[\w.,@-]+:)?(postmaster|%b)>%b" % (ADDRESS, UNKNOWN), {2, 3}, b"250 OK"),
    b"DATA": (rb"", {3}, b"354 end with CR LF . CR LF"),
    b"RSET": (rb"", {0, 1, 2, 3}, b"250 OK"),
    b"NOOP": (rb"[ -~]*", {0, 1, 2, 3}, b"250 OK"),
    b"VRFY": (rb"[ -~]+", {0, 1, 2, 3}, b"252 send it, and see"),
    b"QUIT": (rb"", {0, 1, 2, 3}, b"221 %b goodbye" % HOST),
}


class Receiver(fastchat.LineChannel):
    maildir: mailbox.Maildir
    envelope: list[bytes] = []  # the client, the sender, and the recipients, as far as they came
    message: bytearray | None = None  # from DATA on
    fault = b""  # the reply at the end of a message that is refused

    def connection_made(self) -> Reply:
        return b"220 %b ESMTP" % HOST

    def line_received(self, line: bytes) -> Reply:
        if self.message is None:
            return self.command(*line.rstrip(b" \t").split(b" ", 1))
        if line == b".":
            reply = self.fault or self.store(self.message)
            self.envelope, self.message = self.envelope[:1], None
            return reply
        self.message += line.removeprefix(b".") + b"\r\n"
        if len(self.message) > MAX_SIZE:
            self.message, self.fault = bytearray(), b"552 message too large"
        if b"\r" in line or b"\n" in line:
            self.fault = b"554 bare CR or LF"  # another server may see the end of the message there
        return None

    def command(self, name: bytes, argument: bytes = b"") -> Reply:
        if name.upper() not in COMMANDS:
            return b"500 unknown command"
        pattern, stages, reply = COMMANDS[name.upper()]
        if not (found := re.fullmatch(pattern, argument, re.IGNORECASE)):
            return b"501 wrong argument"
        if min(len(self.envelope), 3) not in stages:
            return b"503 bad sequence of commands"
        match name.upper(), *found.groups():
            case [b"EHLO" | b"HELO" | b"RSET", *client]:
                self.envelope = client or self.envelope[:1]
            case [b"MAIL" | b"RCPT", *_, unknown] if unknown:
                return b"555 unknown parameter"
            case [b"MAIL", _, size, _] if int(size or 0) > MAX_SIZE:
                return b"552 message too large"
            case [b"RCPT", *_] if len(self.envelope) == 102:
                return b"452 too many recipients"
            case [b"MAIL" | b"RCPT", path, *_]:
                self.envelope.append(path)
            case [b"DATA"]:
                self.message, self.fault = bytearray(), b""
            case [b"QUIT"]:
                self.close()
        return reply

    def store(self, message: bytearray) -> bytes:
        client, sender, *recipients = self.envelope
        peer = f" ([{'IPv6:' * (':' in self.addr[0])}{self.addr[0]}])" if self.addr else ""
        trace = client + peer.encode(), HOST, formatdate(localtime=True).encode()
        lines = [b"Return-Path: <%b>" % sender, *[b"Delivered-To: " + each for each in recipients]]
        lines.append(b"Received: from %b\n\tby %b; %b\n" % trace)
        try:  # All connections wait for the disk here; a busy server has a thread for that.
            self.maildir.add(b"\n".join(lines) + message.replace(b"\r\n", b"\n"))
        except (OSError, mailbox.Error):
            logging.exception("a message could not be stored")
            return b"451 the message could not be stored"
        return b"250 the message is stored"

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        self.fault = b"500 line too long"
        return self.fault if self.message is None else None

    def shutting_down(self) -> Reply:
        return b"421 %b stops" % HOST


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Receives mail by SMTP into a Maildir")
    parser.add_argument("maildir", help="the folder, which is made where it is not there")
    parser.add_argument("--bind", default="127.0.0.1:8025", help="where to listen")
    options = parser.parse_args()
    Receiver.maildir = mailbox.Maildir(options.maildir)
    fastchat.serve(
        Receiver,
        options.bind,
        max_connections=64,
        refusal=b"421 %b too many connections\r\n" % HOST,
        on_start=lambda server: print("listening on", *server.addresses, flush=True),
    )
