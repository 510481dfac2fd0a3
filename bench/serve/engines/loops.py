"""The event loops on which asyncio's interfaces run: by the name of the engine that wants one.

aiofastnet is no loop; it puts transports of its own under the methods of somebody else's, which the
second word of the engine's name means.
"""

from __future__ import annotations

import asyncio
import importlib


def new_event_loop(engine: str) -> asyncio.AbstractEventLoop:
    """The loop that the first words of *engine*, a name in ``ENGINES``, mean, set as the current.

    Raises ImportError where it is not installed.
    """
    # By name, so that only the process that serves it imports an event loop of somebody else's.
    first, second, *_ = engine.split("-")
    loop: asyncio.AbstractEventLoop
    if first == "aiofastnet":
        base = importlib.import_module(second).new_event_loop
        loop = importlib.import_module(first).loop_factory(base)()
    else:
        loop = importlib.import_module(first).new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
