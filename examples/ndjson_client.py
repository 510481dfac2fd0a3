"""A client of ndjson_server.py, with many calls at once: `python examples/ndjson_client.py 100`

An answer has up to 16 MiB, where asyncio's own `readline()` ends at 64 KiB.
"""

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
        self.source, self.sink = source, sink
        self.waiting: dict[int, asyncio.Future[object]] = {}
        self.count = 0  # of all calls

    async def call(self, tool: str, **arguments: object) -> object:
        self.count += 1
        request = {"id": self.count, "tool": tool, "arguments": arguments}
        future = self.waiting[self.count] = asyncio.get_running_loop().create_future()
        self.sink.write(join_lines([json.dumps(request).encode()]))
        await self.sink.drain()
        return await future

    async def serve(self) -> None:
        lines = LineBuffer(max_line=16 * 2**20)
        try:
            while data := await self.source.read(65536):
                for line in lines.feed(data):
                    answer = json.loads(line)
                    future = self.waiting.pop(answer["id"])
                    future.set_result(answer.get("result", answer))
        finally:
            for future in self.waiting.values():
                future.set_exception(EOFError("no more answers come"))


async def main(count: int) -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, stdin=PIPE, stdout=PIPE)
    assert process.stdin
    assert process.stdout
    tools = Tools(process.stdout, process.stdin)
    serving = asyncio.create_task(tools.serve())
    sums = await asyncio.gather(*(tools.call("add", a=n, b=n) for n in range(count)))
    print(sums[-1], len(str(await tools.call("shout", text="long" * 100_000))))
    process.stdin.close()
    await asyncio.gather(serving, process.wait())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
