"""A message for smtp_receiver.py, from its first line to a Maildir.

Rules kept here:
- on its way it takes 64 KiB of memory, and a temporary file for the rest;
- one with a bare CR or LF in it is refused: another server might see its end there (CR LF . LF),
  and take what follows for commands;
- what cannot be taken is read to its end all the same, and costs nothing;
- 250 says that it is on the disk, for which the loop does not wait.
"""

import logging
import mailbox
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate

from fastchat import call_threadsafe

# One thread, because the names that two threads make in a Maildir could be the same.
DISK = ThreadPoolExecutor(1)


class Message:
    """A message of at most *most* bytes, of which *header* is not counted; close it or store it."""

    def __init__(self, header: bytes, most: int) -> None:
        self.file = tempfile.SpooledTemporaryFile(2**16)  # noqa: SIM115 (open until close())
        self.file.write(header)
        self.size, self.most = 0, most
        self.fault = b""

    def add(self, line: bytes) -> None:
        """Take a line as it was sent, without its CR LF."""
        line = line.removeprefix(b".")
        self.size += len(line) + 2
        if self.size > self.most:
            self.refuse(b"552 a message has %d bytes at most" % self.most)
        elif b"\r" in line or b"\n" in line:
            self.refuse(b"554 a bare CR or LF is in it")
        elif not self.fault:
            try:
                self.file.write(line + b"\n")
            except OSError:
                self.refuse(b"452 there is no room for it")

    def refuse(self, reply: bytes) -> None:
        """Let *reply* be what is said at the end, if nothing is yet."""
        self.fault = self.fault or reply

    def store(self, maildir: mailbox.Maildir, answer: Callable[[bytes], None]) -> None:
        """Put it into *maildir*, in a thread, if it can be taken; *answer* gets what to say."""
        if self.fault:
            self.close()
            answer(self.fault)
        else:
            DISK.submit(lambda: call_threadsafe(answer, self._stored(maildir)))

    def _stored(self, maildir: mailbox.Maildir) -> bytes:
        try:
            with self.file:
                self.file.seek(0)
                maildir.add(self.file)  # into tmp, with fsync(), and from there by a link into new
        except Exception:
            logging.exception("a message could not be stored")
            return b"451 it could not be stored"
        return b"250 it is stored"

    def close(self) -> None:
        with suppress(OSError):  # it writes once more what there was no room for
            self.file.close()


def trace(
    sender: bytes, recipients: list[bytes], client: bytes, peer: str, host: bytes, protocol: bytes
) -> bytes:
    """The header lines of who takes a message (RFC 5321, section 4.4, and RFC 9228).

    *client* is the name that the client gave, *peer* its address, or "" where it has none.
    """
    address = f"[IPv6:{peer}]" if ":" in peer else f"[{peer}]"
    client += f" ({address})".encode() if peer else b""
    now = formatdate(localtime=True).encode()
    lines = [b"Return-Path: <%b>" % sender, *(b"Delivered-To: " + each for each in recipients)]
    lines.append(b"Received: from %b\n\tby %b with %b; %b\n" % (client, host, protocol, now))
    return b"\n".join(lines)
