# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs
"""What programs do with fastchat, written without annotations: no type checker may object to any.

mypy looks into the functions nevertheless.  The idioms are those of Python 2.
"""

import socket

from fastchat import asynchat, asyncore


class Producer:
    def __init__(self, pieces):
        self.pieces = list(pieces)

    def more(self):
        if self.pieces:
            return self.pieces.pop(0)


class Handler(asynchat.async_chat):
    debug = 1
    ac_in_buffer_size = 512
    ignore_log_types = ["warning"]

    def __init__(self, conn, addr, server):
        asynchat.async_chat.__init__(self, conn)
        self.peer = addr
        self.server = server
        self.data = []
        self.reading_headers = 1
        self.set_terminator(b"\r\n\r\n")

    def collect_incoming_data(self, bytes):
        self.data.append(bytes)

    def found_terminator(self):
        if self.reading_headers:
            self.reading_headers = 0
            self.set_terminator(10)
        else:
            self.set_terminator(None)
            self.push(b"".join(self.data))
            self.push_with_producer(Producer(self.data))
            self.push_with_producer(asynchat.simple_producer(b"x" * 1000, 100))
            self.close_when_done()

    def readable(self):
        return asynchat.async_chat.readable(self) and not self.producer_fifo

    def writable(self):
        return self.producer_fifo or not self.connected

    def handle_error(self):
        _, t, v, tbinfo = asyncore.compact_traceback()
        self.log_info("%s %s %s" % (t, v, tbinfo), "error")  # noqa: UP031 (as they were written)
        self.close()

    def handle_close(self):
        self.server.leave(self)
        self.close()

    def log_info(self, message, type="info"):
        print(type, message)


class Server(asyncore.dispatcher):
    def __init__(self, host, port):
        asyncore.dispatcher.__init__(self)
        self.channels = {}
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(1024)

    def handle_accept(self):
        pair = self.accept()
        if pair is None:
            return
        conn, addr = pair
        self.channels[addr] = Handler(conn, addr, self)

    def leave(self, channel):
        del self.channels[channel.peer]


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        data = self.recv(8192)
        if data:
            self.send(data)

    def handle_connect(self):
        self.connected = 1

    def handle_close(self):
        return self.close()


class Getter(asyncore.dispatcher):
    def __init__(self, host, path):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.connect((host, 80))
        self.buffer = b"GET %b HTTP/1.0\r\n\r\n" % path

    def handle_read(self):
        print(self.recv(8192))

    def writable(self):
        return len(self.buffer) > 0

    def handle_write(self):
        sent = self.send(self.buffer)
        self.buffer = self.buffer[sent:]


class Acceptor(asyncore.dispatcher):
    def handle_accepted(self, conn, address):
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Echo(conn)


def main():
    Server("localhost", 8080)
    try:
        asyncore.loop(30.0, 1)
    except KeyboardInterrupt:
        asyncore.close_all(ignore_all=1)
