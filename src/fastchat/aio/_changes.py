"""What a ``LineProtocol`` can change to: another transport, TLS, or another protocol.

Rules this file keeps:

* What was sent before leaves by the transport that was there, and what is sent later by the new
  one, within the same limits.
* Plaintext that is here when TLS begins ends the connection, for a hook could not tell it from what
  TLS has protected.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastchat.aio._stops import BUSY, FULL, GONE, PAUSED, SHUT, TLS_BEGINS

if TYPE_CHECKING:
    from fastchat.aio._link import Link


def switch(link: Link, transport: Any) -> None:
    """*transport* takes the place of the one there is; without a connection it changes nothing.

    So an override may assign in ``connection_made()`` what it is there already.
    """
    if transport in (None, link.transport) or not link.has_transport():
        return
    if link.gate.stops & GONE:
        return
    link.transport = transport
    if link.gate.stops & FULL:  # of the other one, which tells this no more
        link.resume_writing()
    link.is_reading = True
    link.open()
    if link.gate.stops & (FULL | PAUSED):
        link.stop_reading()


async def start_tls(link: Link, context: Any, options: dict[str, Any]) -> None:
    """Go on over TLS by *context*, an SSLContext, and *options* for the loop's ``start_tls()``.

    Raises what ``LineProtocol.start_tls()`` says.
    """
    while link.gate.stops & BUSY:  # a task that began within a hook, whose reply is plaintext
        await asyncio.sleep(0)
    link.current()
    if link.gate.stops & SHUT or link.has_ended or link.transport.is_closing():
        raise ConnectionResetError("the connection is closed")
    if link.gate.stops & TLS_BEGINS:
        raise RuntimeError("start_tls() runs already")
    if link.held or link.has_begun_line():
        # Behind the handshake it would pass for what TLS has protected.
        link.abort()
        raise ConnectionAbortedError(
            "the peer has sent plaintext behind the line that starts TLS: aborted"
        )
    link.gate.stops |= TLS_BEGINS
    link.gate.heard = link.time()
    link.handshake = handshake = link.loop.create_task(
        link.loop.start_tls(link.transport, link.protocol, context, **options)
    )
    transport: Any = None
    failure: Any = None
    try:
        await asyncio.wait([handshake])
        if not handshake.cancelled():
            failure = handshake.exception()
            transport = None if failure else handshake.result()
    finally:
        handshake.cancel()
        link.handshake = None
        link.gate.stops &= ~TLS_BEGINS
        if transport is None or link.gate.stops & SHUT:
            link.abort()
            # Some transports that are closed within the handshake tell that nobody.
            link.loop.call_soon(link.connection_lost, failure)
    if failure is not None:
        raise failure
    if transport is None or link.gate.stops & SHUT:
        raise ConnectionResetError("the connection was closed while TLS began")
    switch(link, transport)
    link.flush()
    link.resume(0)


def detach(link: Link) -> bytes:
    """Take *link* off its transport; returns the input that no hook was given.

    Raises what ``LineProtocol.detach()`` says, and has changed nothing then.
    """
    if link.gate.stops & (BUSY | TLS_BEGINS):
        raise RuntimeError("a hook cannot detach, nor start_tls(): let the loop call something")
    link.current()
    if link.gate.stops & SHUT or link.has_ended or link.transport.is_closing():
        raise ConnectionResetError("the connection is closed")
    while link.cut_rest():
        pass
    for event in link.held:
        if not isinstance(event, list):
            raise event
    if link.buffer.take(0) is None:
        raise ValueError("a line that is too long goes on, and what it began with is dropped")
    lines = [line for event in link.held if isinstance(event, list) for line in event]
    rest = link.join(lines)  # which may raise, where nothing has changed yet
    link.stop_reading()
    link.gate.stops |= SHUT
    link.held.clear()
    link.forget()
    return rest + link.buffer.rest()
