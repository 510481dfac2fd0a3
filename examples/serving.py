"""What the example programs share: command line, listening socket, loop, and a clean end.

Written for the asyncore and asynchat of the 2010s and for nothing newer, as the programs are.
Rules kept here:
- one line, `listening on HOST:PORT`, is printed and flushed once clients can connect;
- SIGTERM and SIGINT end the program with status 0 and every channel closed;
- a client that is gone before it is accepted never closes the listening socket;
- an address that cannot be had ends it with one line that says why.
"""

import argparse
import asyncore
import signal
import socket
from collections.abc import Callable


def port(word: str) -> int:
    """A port, as the command line names it."""
    number = int(word)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is not from 0 to 65535")
    return number


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The options every example takes; a program may add its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=port, default=0, help="0, the default: any free port")
    return parser


class Listener(asyncore.dispatcher):
    """Accepts connections and makes a channel of each: `channel(connection)`."""

    def __init__(self, host: str, port: int, channel: Callable[[socket.socket], object]) -> None:
        asyncore.dispatcher.__init__(self)
        self.channel = channel
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(128)

    def handle_accepted(self, connection: socket.socket, address: object) -> None:
        try:
            # Answers are small and pushed one by one: none should wait for the last one's ACK.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.channel(connection)
        except OSError:
            connection.close()


class Ending(asyncore.dispatcher):
    """Leaves the loop after SIGTERM or SIGINT, between two events and so never within one.

    The signal comes as a byte on a socket that the loop waits for. A handler that raised would
    cut a channel off in the middle of anything, and would be late by a whole wait of the loop
    when the signal came just before it.
    """

    def __init__(self) -> None:
        receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)
        asyncore.dispatcher.__init__(self, receiver)
        signal.set_wakeup_fd(self.sender.fileno())
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda signum, frame: None)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        raise asyncore.ExitNow

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self.sender.close()
        asyncore.dispatcher.close(self)


def serve(options: argparse.Namespace, channel: Callable[[socket.socket], object]) -> None:
    """Serve until a signal asks to stop, then close every channel."""
    try:
        Ending()
        try:
            listener = Listener(options.host, options.port, channel)
        except OSError as failure:
            raise SystemExit(f"cannot listen on {options.host}:{options.port}: {failure}") from None
        host, port = listener.socket.getsockname()
        print(f"listening on {host}:{port}", flush=True)
        asyncore.loop()
    except asyncore.ExitNow:
        pass
    finally:
        asyncore.close_all()
