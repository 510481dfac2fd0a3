"""A log collector: lines of syslog over TCP into one file, and metrics for Prometheus.

`python examples/log_collector.py /tmp/all.log --bind 127.0.0.1:6514 --metrics 127.0.0.1:9514`, then
`logger --tcp --server 127.0.0.1 --port 6514 hello` sends it a line, and
`curl http://127.0.0.1:9514/metrics` has what it counts.  Rules kept here:
- a line is a message that may begin with its priority, "<PRI>" (RFC 5424, 6.2.1), and is a notice
  where it does not; a line feed ends it (RFC 6587, 3.4.2);
- the lines of one read are written at once, each with its sender's address before it, and without
  control characters, so that nobody forges a line of somebody else or drives a terminal;
- a line that is too long is cut, and the lines after it are read on;
- what cannot be written ends the connection, so that the sender keeps it;
- SIGHUP opens the file anew, for logrotate; SIGTERM and SIGINT end it in order.
"""

import argparse
import contextlib
import functools
import io
import re
import signal
import socket
import sys
from typing import Any

from prometheus_client import Counter

from fastchat import LineChannel, Server, call_threadsafe, serve
from fastchat.prometheus import endpoint, export

PRIORITY = re.compile(rb"<([0-9]{1,3})>")
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
CONTROL = bytes([*range(9), *range(10, 32), 127])
# Control characters and ends of lines beside these: U+0080 to U+009F, U+2028 and U+2029.
BEYOND = re.compile(rb"\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")

LINES = Counter("collector_lines", "Lines that were written.", ["severity"])
CUT = Counter("collector_cut_lines", "Lines that were too long, and cut.")
WRITTEN = Counter("collector_written_bytes", "Bytes that were written.")
for each in SEVERITIES:
    LINES.labels(each)  # so that each is there before its first line


class Log:
    """The file at *path*, to which lines are appended."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = io.FileIO(path, "a")

    def reopen(self) -> None:
        old, self.file = self.file, io.FileIO(self.path, "a")
        old.close()

    def close(self) -> None:
        self.file.close()

    def write(self, sender: bytes, lines: list[bytes]) -> None:
        severities, texts = [], []
        for line in lines:
            found = PRIORITY.match(line)
            severities.append(SEVERITIES[int(found[1]) % 8] if found else "notice")
            text = line[found.end() :] if found else line
            text = BEYOND.sub(b"?", text.translate(None, CONTROL))
            texts.append(b"%s %s\n" % (sender, text))
        data = memoryview(b"".join(texts))
        while data:  # a disk that is nearly full takes a part
            count = self.file.write(data)
            WRITTEN.inc(count)
            data = data[count:]
        for severity in severities:
            LINES.labels(severity).inc()


class Collector(LineChannel):
    """One sender."""

    delimiter = b"\n"
    max_line = 8192

    def __init__(self, sock: socket.socket, map: Any, store: Log) -> None:
        super().__init__(sock, map)
        self.store = store

    def connection_made(self) -> None:
        # What a client has bound a Unix socket to is a path of its choice, and no address.
        self.sender = self.addr[0].encode() if isinstance(self.addr, tuple) else b"local"

    def lines_received(self, lines: list[bytes]) -> None:
        self.store.write(self.sender, lines)

    def line_too_long(self, prefix: bytes, size: int) -> None:
        CUT.inc()
        self.store.write(self.sender, [prefix])

    def eof_received(self) -> None:
        if self.unterminated:  # the last message of one that ends in the midst of it
            self.store.write(self.sender, [self.unterminated])


def main() -> int:
    parser = argparse.ArgumentParser(description="Log collector that Prometheus can scrape")
    parser.add_argument("file", help="where the lines go")
    parser.add_argument("--bind", default="127.0.0.1:0", help="where senders connect to")
    parser.add_argument("--metrics", default="127.0.0.1:0", help="where Prometheus connects to")
    options = parser.parse_args()

    def started(server: Server) -> None:
        export(server)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda number, frame: call_threadsafe(log.reopen))
        print(f"listening on {server.addresses[0]}\nmetrics at {url}", flush=True)

    try:
        with contextlib.closing(Log(options.file)) as log, endpoint(options.metrics) as url:
            make = functools.partial(Collector, store=log)
            return serve(make, options.bind, on_start=started)
    except (OSError, ValueError) as failure:
        raise SystemExit(f"cannot collect: {failure}") from None


if __name__ == "__main__":
    sys.exit(main())
