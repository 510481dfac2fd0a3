"""What the example programs share: command line, listening socket, channel, loop, and a clean end.

Written for the asyncore and asynchat of the 2010s and for nothing newer, as the programs are.
Rules kept here:
- one line, `listening on HOST:PORT`, is printed and flushed once clients can connect;
- SIGTERM and SIGINT end the program with status 0 and every channel closed;
- a client that is gone before it is accepted never closes the listening socket;
- a client that stops sending still gets the answers it is owed, and one that does not read its
  answers is not read from either;
- a connection the server ends is never reset under its last answer.
"""

import argparse
import asynchat
import asyncore
import contextlib
import signal
import socket


def argument_parser(description):
    """The options every example takes; a program may add its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any free port")
    return parser


class EndOfAnswers:
    """The last producer: asked for data once every answer is sent, it shuts the sending side."""

    def __init__(self, connection):
        self.connection = connection

    def more(self):
        with contextlib.suppress(OSError):  # the client may be gone already
            self.connection.shutdown(socket.SHUT_WR)
        return b""


class Channel(asynchat.async_chat):
    """A client's connection; a subclass is a protocol, its `begin` awaits the first bytes."""

    max_waiting = 1000  # entries of producer_fifo above which nothing more is read
    max_dropped = 64 << 20  # bytes taken in after the last answer before patience ends
    input_ended = is_finished = False

    def __init__(self, connection):
        asynchat.async_chat.__init__(self, connection)
        self.begin()

    def readable(self):
        if self.input_ended or len(self.producer_fifo) > self.max_waiting:
            return False
        return asynchat.async_chat.readable(self)

    def handle_close(self):
        # The first call may mean no more than the end of the input; the second is final.
        if self.producer_fifo and not self.input_ended:
            self.input_ended = True
            self.close_when_done()
        else:
            self.close()

    def handle_error(self):
        self.input_ended = True  # what failed may be an answer: end here, do not go on after it
        asynchat.async_chat.handle_error(self)

    def finish(self):
        """Answer nothing more; closing at once could reset the connection under the last answer."""
        self.is_finished = True
        self.set_terminator(None)
        self.push_with_producer(EndOfAnswers(self.socket))

    def drop(self, data):
        """What a subclass does with input once it has finished."""
        self.max_dropped -= len(data)
        if self.max_dropped < 0:
            self.close()


class Listener(asyncore.dispatcher):
    """Accepts connections and makes a channel of each: `channel(connection)`."""

    def __init__(self, host, port, channel):
        asyncore.dispatcher.__init__(self)
        self.channel = channel
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(128)

    def handle_accepted(self, connection, address):
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

    def __init__(self):
        receiver, self.sender = socket.socketpair()
        self.sender.setblocking(False)
        asyncore.dispatcher.__init__(self, receiver)
        signal.set_wakeup_fd(self.sender.fileno())
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda signum, frame: None)

    def writable(self):
        return False

    def handle_read(self):
        raise asyncore.ExitNow

    def close(self):
        signal.set_wakeup_fd(-1)
        self.sender.close()
        asyncore.dispatcher.close(self)


def serve(options, channel):
    """Serve until a signal asks to stop, then close every channel."""
    try:
        Ending()
        listener = Listener(options.host, options.port, channel)
        host, port = listener.socket.getsockname()
        print(f"listening on {host}:{port}", flush=True)
        asyncore.loop()
    except asyncore.ExitNow:
        pass
    finally:
        asyncore.close_all()
