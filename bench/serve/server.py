"""The process that is measured: ``python -m bench.serve.server ENGINE SERVICE``.

Serves on a free port of 127.0.0.1, prints ``listening on HOST:PORT`` and goes on until it is
killed.  Anything else that it prints is a fault of the engine, and ends the run.
"""

from __future__ import annotations

import importlib
import sys

from bench.serve.engines import ENGINES

# glibc takes blocks above a size directly from the kernel, and gives them back, a fault for each
# page, until one of them is freed that has at least that size: then it keeps what is smaller.  In a
# program that has run for a while that has happened.  In a fresh one it has not, and an engine that
# receives into 256 KiB, as asyncio does, would be three times as slow here as it is in practice.
LARGE_BLOCK = 2**25 - 2**13  # the most that counts, less what belongs to the allocator


def main(name: str, service: str) -> None:
    bytes(LARGE_BLOCK)
    engine = ENGINES[name]
    wanted = engine.environment.get("FASTCHAT_IMPLEMENTATION")
    if wanted is not None:
        fastchat = importlib.import_module("fastchat")
        if fastchat.implementation != wanted:
            raise RuntimeError(f"fastchat runs on {fastchat.implementation}, not on {wanted}")
        fastchat.install()
    importlib.import_module(f"bench.serve.engines.{engine.module}").serve(name, service)


if __name__ == "__main__":
    main(*sys.argv[1:])
