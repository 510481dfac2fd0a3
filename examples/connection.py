"""A client's connection, as the example programs have it: an async_chat that ends well.

Rules kept here:
- a client that stops sending still gets the answers it is owed, and one that does not read its
  answers is not read from either;
- a connection the server ends is never reset under its last answer.
"""

import asynchat
import contextlib
import socket


class EndOfAnswers:
    """The last producer: asked for data once every answer is sent, it shuts the sending side."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def more(self) -> bytes:
        with contextlib.suppress(OSError):  # the client may be gone already
            self.connection.shutdown(socket.SHUT_WR)
        return b""


class Channel(asynchat.async_chat):
    """A client's connection; a subclass is a protocol, its `begin` awaits the first bytes."""

    max_waiting = 1000  # entries of producer_fifo above which nothing more is read
    max_dropped = 64 << 20  # bytes taken in after the last answer before patience ends
    input_ended = is_finished = False

    def __init__(self, connection: socket.socket) -> None:
        asynchat.async_chat.__init__(self, connection)
        self.begin()

    def begin(self) -> None:
        raise NotImplementedError

    def readable(self) -> bool:
        if self.input_ended or len(self.producer_fifo) > self.max_waiting:
            return False
        return asynchat.async_chat.readable(self)

    def handle_close(self) -> None:
        # The first call may mean no more than the end of the input; the second is final.
        if self.producer_fifo and not self.input_ended:
            self.input_ended = True
            self.close_when_done()
        else:
            self.close()

    def handle_error(self) -> None:
        self.input_ended = True  # what failed may be an answer: end here, do not go on after it
        asynchat.async_chat.handle_error(self)

    def finish(self) -> None:
        """Answer nothing more; closing at once could reset the connection under the last answer."""
        self.is_finished = True
        self.set_terminator(None)
        self.push_with_producer(EndOfAnswers(self.socket))

    def drop(self, data: bytes) -> None:
        """What a subclass does with input once it has finished."""
        self.max_dropped -= len(data)
        if self.max_dropped < 0:
            self.close()
