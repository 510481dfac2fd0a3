"""The event loops on which asyncio's interfaces run."""

from __future__ import annotations

import asyncio
import importlib


def new_event_loop(engine: str) -> asyncio.AbstractEventLoop:
    """The loop that the first word of an engine's name means, set as the current one."""
    # By name, so that only the process that serves it imports an event loop of somebody else's.
    loop: asyncio.AbstractEventLoop = importlib.import_module(
        engine.partition("-")[0]
    ).new_event_loop()
    asyncio.set_event_loop(loop)
    return loop
