"""A file server on asynchat: files are sent by producers, a piece at a time.

`python -m fastchat run examples/file_server.py --root DIRECTORY`, then lines ended by CR LF:
    GET NAME        OK SIZE, then the bytes of the file
    SHA256 NAME     OK HEXDIGEST
    LIST            OK COUNT, then COUNT lines, each a name
    QUIT            OK, and the connection ends
What cannot be served is answered by ERR and a reason. Rules kept here:
- answers come in the order of the lines, and a client has one file open at most;
- no name leads out of the root, be it by .., an absolute path or a symbolic link;
- exactly SIZE bytes follow OK SIZE, or the connection breaks; the file is closed either way.
"""

import hashlib
import os
from collections.abc import Generator

import serving
from connection import Channel

MAX_LINE, PIECE = 4096, 64 << 10


class Producer:
    """Gives asynchat the pieces of a generator, and can be told that they are no longer wanted."""

    def __init__(self, pieces: Generator[bytes]) -> None:
        self.pieces = pieces

    def more(self) -> bytes:
        return next(self.pieces, b"")

    def close(self) -> None:
        self.pieces.close()


def download(path: str) -> Generator[bytes]:
    """The pieces of an answer to GET; the file opens when the first is asked for."""
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        yield b"OK %d\r\n" % left
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise EOFError(f"{path} became shorter while it was sent")
            left -= len(piece)
            yield piece


def digest(path: str) -> bytes:  # all at once: meanwhile the other clients wait
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode("ascii")


class FileChannel(Channel):
    """A client. The program sets `root`, the directory it may read from."""

    root: str

    def begin(self) -> None:
        self.line = b""
        self.set_terminator(b"\r\n")

    def close(self) -> None:
        for entry in self.producer_fifo:
            if isinstance(entry, Producer):
                entry.close()
        Channel.close(self)

    def path(self, name: bytes) -> str:
        """The file of this name; an error if there is none, or it is not below the root."""
        path = os.path.realpath(os.path.join(self.root, os.fsdecode(name)))
        is_served = os.path.isfile(path) and os.access(path, os.R_OK)
        if not is_served or os.path.commonpath([self.root, path]) != self.root:
            raise ValueError("no such file")
        return path

    def names(self) -> list[bytes]:
        files = [e.name for e in os.scandir(self.root) if e.is_file(follow_symlinks=False)]
        return sorted(os.fsencode(name) for name in files if not {"\r", "\n"} & set(name))

    def collect_incoming_data(self, data: bytes) -> None:
        if self.is_finished:
            self.drop(data)
            return
        self.line += data
        if len(self.line) > MAX_LINE:
            self.push(b"ERR line too long\r\n")
            self.finish()

    def found_terminator(self) -> None:
        if self.is_finished:
            return
        (verb, _, name), self.line = self.line.partition(b" "), b""
        try:
            self.execute(verb, name)
        except (OSError, ValueError) as error:
            self.push(b"ERR %b\r\n" % str(error).encode("ascii", "replace"))

    def execute(self, verb: bytes, name: bytes) -> None:
        if verb == b"GET":
            self.push_with_producer(Producer(download(self.path(name))))
        elif verb == b"SHA256":
            self.push(b"OK %b\r\n" % digest(self.path(name)))
        elif verb == b"LIST":
            names = self.names()
            self.push(b"\r\n".join([b"OK %d" % len(names), *names, b""]))
        elif verb == b"QUIT":
            self.push(b"OK\r\n")
            self.finish()
        else:
            raise ValueError("no such command")


if __name__ == "__main__":
    parser = serving.argument_parser("File server with a line protocol")
    parser.add_argument("--root", required=True, help="directory whose files are served")
    options = parser.parse_args()
    FileChannel.root = os.path.realpath(options.root)
    serving.serve(options, FileChannel)
