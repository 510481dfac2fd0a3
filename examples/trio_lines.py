"""A line server on trio: it answers each line in capitals.

`python examples/trio_lines.py`, then `nc 127.0.0.1 PORT`.

The answers to one read leave in one send. A line of more than 64 KiB, and a minute of silence, end
the connection; how many there are is not bounded.
"""

import signal

import trio

from fastchat import LineBuffer, LineTooLong, join_lines

MAX_LINE = 65536
IDLE = 60  # seconds


async def serve(stream: trio.SocketStream) -> None:
    lines = LineBuffer(max_line=MAX_LINE)
    while True:
        with trio.fail_after(IDLE):
            data = await stream.receive_some()
            if not data:
                return
            try:
                found = lines.feed(data)
            except LineTooLong as failure:
                answers = [*map(bytes.upper, failure.lines), b"a line is too long"]
                await stream.send_all(join_lines(answers))
                raise ConnectionError(str(failure)) from None
            await stream.send_all(join_lines(line.upper() for line in found))


async def handle(stream: trio.SocketStream) -> None:
    async with stream:
        try:
            await serve(stream)
        except (ConnectionError, trio.BrokenResourceError, trio.TooSlowError) as failure:
            print(f"a connection has ended: {failure!r}", flush=True)


async def main() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handle, listeners)
            print("listening on {}:{}".format(*listeners[0].socket.getsockname()), flush=True)
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
