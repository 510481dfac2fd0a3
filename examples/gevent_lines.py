"""A line server on gevent: it answers each line in capitals.

`python examples/gevent_lines.py`, then `nc 127.0.0.1 PORT`.

A connection is received into the room of its buffer, and the answers to one read leave in one send.
A line of more than 64 KiB, and a minute of silence, end the connection; there are 1,000 at most.
"""

import signal

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.socket import socket

from fastchat import LineBuffer, LineTooLong, join_lines

MAX_LINE = 65536
IDLE = 60  # seconds
CONNECTIONS = 1000


def serve(connection: socket) -> None:
    lines = LineBuffer(max_line=MAX_LINE)
    connection.settimeout(IDLE)
    while count := connection.recv_into(lines.get_buffer()):
        try:
            found = lines.buffer_updated(count)
        except LineTooLong as failure:
            answers = [*map(bytes.upper, failure.lines), b"a line is too long"]
            connection.sendall(join_lines(answers))
            raise ConnectionError(str(failure)) from None
        connection.sendall(join_lines(line.upper() for line in found))


def handle(connection: socket, address: object) -> None:
    try:
        serve(connection)
    except OSError as failure:  # a timeout, too
        print(f"a connection has ended: {failure}", flush=True)


def main() -> None:
    server = StreamServer(("127.0.0.1", 0), handle, spawn=Pool(CONNECTIONS))
    server.start()
    for signum in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(signum, server.stop, 0)
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
