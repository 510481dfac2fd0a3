"""An SMTP server that puts mail into a Maildir: RFC 5321, with SIZE, 8BITMIME and PIPELINING.

`python examples/smtp_receiver.py MAILDIR`, then `swaks --server 127.0.0.1:8025 --to ann@localhost`.
Rules kept here, while smtp_session.py keeps those of commands, and smtp_message.py of messages:
- only CR LF ends a line, and so only CR LF . CR LF a message;
- replies have the order of the commands, also while a message is being stored;
- a line that is too long costs a 500, and never the rest of it is taken for another one;
- it takes mail for everybody, and sends none on.
"""

import argparse
import mailbox
import socket

from smtp_session import Session

import fastchat
from fastchat.channel import Reply

HOST = socket.gethostname().encode()


class Receiver(fastchat.LineChannel):
    max_line = 16384
    max_message = 10 * 2**20
    maildir: mailbox.Maildir

    def __init__(self, sock: socket.socket, map: object = None) -> None:
        super().__init__(sock, map)
        # A Unix socket has no address.
        self.session = Session(HOST, self.addr[0] if self.addr else "", self.max_message)

    def connection_made(self) -> Reply:
        return b"220 %b ESMTP" % HOST

    def line_received(self, line: bytes) -> Reply:
        message = self.session.message
        if message is None:
            reply = self.session.command(line)
            if self.session.is_over:
                self.close()
            return reply
        if line != b".":
            message.add(line)
        else:
            self.session.rset()
            self.pause_reading()
            message.store(self.maildir, self.stored)
        return None

    def stored(self, reply: bytes) -> None:
        self.send_line(reply)
        self.resume_reading()

    def line_too_long(self, prefix: bytes, size: int) -> Reply:
        if self.session.message is None:
            return b"500 that line is too long"
        self.session.message.refuse(b"500 a line is too long")
        return None

    def timed_out(self, which: str) -> Reply:
        super().timed_out(which)
        return b"421 that took too long"

    def shutting_down(self) -> Reply:
        return b"421 this server stops"

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.session.message is not None:
            self.session.message.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Receives mail by SMTP into a Maildir")
    parser.add_argument("maildir", help="the folder, which is made where it is not there")
    parser.add_argument("--bind", default="127.0.0.1:8025", help="where to listen")
    options = parser.parse_args()
    Receiver.maildir = mailbox.Maildir(options.maildir)
    fastchat.serve(
        Receiver,
        options.bind,
        max_connections=200,  # each may have a temporary file
        refusal=b"421 too many connections\r\n",
        on_start=lambda server: print("listening on", *server.addresses, flush=True),
    )
