"""A client of ndjson_server.py, with many calls at once: `python examples/ndjson_client.py 100`"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from fastchat import LineBuffer, join_lines

COMMAND = [sys.executable, str(Path(__file__).with_name("ndjson_server.py"))]


class Tools:
    """Tools at the other end of two pipes: `call` them while `serve` runs."""

    def __init__(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self.source, self.sink, self.count = source, sink, 0
        self.waiting: dict[int, asyncio.Future[dict[str, object]]] = {}

    async def call(self, tool: str, **arguments: object) -> object:
        if self.sink.is_closing():
            raise EOFError("no more answers come")
        self.count += 1
        request = {"id": self.count, "tool": tool, "arguments": arguments}
        future = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        self.sink.write(join_lines([json.dumps(request).encode()]))
        await self.sink.drain()
        answer = await future
        if "error" in answer:
            raise RuntimeError(f"{tool} failed: {answer['error']}")
        return answer["result"]

    async def serve(self) -> None:
        lines = LineBuffer(max_line=16 * 2**20)  # asyncio's own readline() ends at 64 KiB
        try:
            while data := await self.source.read(65536):
                for answer in map(json.loads, lines.feed(data)):
                    future = self.waiting.pop(answer["id"])
                    if not future.done():  # or the call was cancelled
                        future.set_result(answer)
        finally:
            self.sink.close()  # so that a later call fails, and does not wait for ever
            for future in (each for each in self.waiting.values() if not each.done()):
                future.set_exception(EOFError("no more answers come"))


async def main(count: int) -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE)
    tools = Tools(process.stdout, process.stdin)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    serving = asyncio.create_task(tools.serve())
    sums = await asyncio.gather(*(tools.call("add", a=n, b=n) for n in range(count)))
    print(sums[-1], len(str(await tools.call("shout", text="long" * 100_000))))
    tools.sink.close()
    await asyncio.gather(serving, process.wait())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
