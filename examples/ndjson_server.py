"""A tool server that speaks NDJSON over its standard input and output: a request a line.

`echo '{"id": 1, "tool": "add", "arguments": {"a": 1, "b": 2}}' | python examples/ndjson_server.py`

A line that is too long, or no request, is answered with an error, and the next one is served. The
answers to what came in one read leave in one write.
"""

import io
import json
from collections.abc import Callable, Iterator
from functools import partial

from fastchat import LineBuffer, LineTooLong, join_lines

TOOLS: dict[str, Callable[..., object]] = {
    "add": lambda a, b: int(a) + int(b),
    "shout": lambda text: str(text).upper(),
}


def answer(line: bytes) -> bytes:
    """What is said to one request."""
    identity = None
    try:
        request = json.loads(line)
        if isinstance(request["id"], int | str):  # not NaN, which is no JSON, nor what is nested
            identity = request["id"]
        result = TOOLS[request["tool"]](**request["arguments"])
        return json.dumps({"id": identity, "result": result}, allow_nan=False).encode()
    except Exception as failure:  # whatever a tool raises, the next request is served
        return json.dumps({"id": identity, "error": repr(failure)}).encode()


def answers(take: Callable[[], list[bytes]], lines: LineBuffer) -> Iterator[bytes]:
    """What is said to the requests that `take()` gives, and to those that are too long."""
    while True:
        try:
            yield from map(answer, take())
            return
        except LineTooLong as failure:
            yield from map(answer, failure.lines)
            yield json.dumps({"id": None, "error": str(failure)}).encode()
            take = partial(lines.feed, b"")  # what came behind it


def main() -> None:
    lines = LineBuffer(max_line=4 * 2**20)
    with io.FileIO(0, closefd=False) as source, open(1, "wb", closefd=False) as sink:
        while count := source.readinto(lines.get_buffer()):
            sink.write(join_lines(answers(partial(lines.buffer_updated, count), lines)))
            sink.flush()
        if rest := lines.feed_eof():  # a last request may have no line end
            sink.write(join_lines([answer(rest)]))


if __name__ == "__main__":
    main()
