"""What a ``LineProtocol`` can change to: another transport, TLS, or another protocol.

Rules this file keeps:

* What was sent before leaves by the transport that was there, and what is sent later by the new
  one, within the same limits.
* Plaintext that is here when TLS begins ends the connection, for a hook could not tell it from what
  TLS has protected.  That is looked for where nothing can be read any more before the handshake.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastchat import LineTooLong
from fastchat.aio._stops import BUSY, FULL, GONE, PAUSED, SHUT, TLS_BEGINS

if TYPE_CHECKING:
    from fastchat.aio._link import Link


def assign(link: Link, transport: Any) -> None:
    """The program assigns *transport*, which takes the place of the one there is.

    So an override may assign in ``connection_made()`` what it is there already.  None is what the
    program sees where there is no connection, and a transport changes nothing there.

    Where TLS begins with it, raises ConnectionAbortedError unless nothing was received behind the
    line for that, and RuntimeError in a hook, which has no way to know.
    """
    is_connected = link.has_transport() and not link.gate.stops & GONE
    if transport is None:
        link.shows_none = not is_connected
        return
    if transport is link.transport or not is_connected:
        return
    if transport.get_extra_info("sslcontext") is not None and not link.is_tls():
        _check_assigned(link, transport)
    link.flush()
    switch(link, transport)


def _check_assigned(link: Link, transport: Any) -> None:
    """Refuse TLS by *transport* where plaintext could pass for what it has protected."""
    if link.gate.stops & BUSY:
        raise RuntimeError("TLS cannot begin in a hook: let a task assign its transport")
    waits = link.held_before_layer
    if waits is None:
        waits = link.holds_input()
    if waits or not link.gate.stops & PAUSED:
        link.abort()
        transport.abort()
        raise (
            _injected()
            if waits
            else ConnectionAbortedError(
                "TLS has begun without pause_reading(), so that plaintext could pass for what it "
                "protects: aborted"
            )
        )


def _injected() -> ConnectionAbortedError:
    return ConnectionAbortedError(
        "the peer has sent plaintext behind the line that starts TLS: aborted"
    )


def switch(link: Link, transport: Any) -> None:
    """*transport* takes the place of the one there is."""
    link.transport = transport
    link.held_before_layer = None
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
    await _until_tls_can_begin(link)
    _check_open(link)
    if link.gate.stops & TLS_BEGINS:
        raise RuntimeError("start_tls() runs already")
    link.stop_reading()
    link.gate.stops |= TLS_BEGINS
    link.deadlines.stop()
    link.gate.heard = link.time()
    link.handshake = handshake = link.loop.create_task(_shake_hands(link, context, options))
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
        loss, link.loss = link.loss, None
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
    if loss is not None:  # behind what was received
        link.loop.call_soon(loss)
        return
    link.flush()
    link.resume(0)


async def _until_tls_can_begin(link: Link) -> None:
    """Wait for the hook that runs, whose reply is plaintext, and for room for output.

    What the transport told of full output it would have to tell another protocol of room.
    """
    while link.gate.stops & (BUSY | FULL) and not link.gate.stops & (GONE | TLS_BEGINS):
        if link.gate.stops & BUSY:  # a task that began within the hook
            await asyncio.sleep(0)
        else:
            link.room = link.room or asyncio.Event()
            await link.room.wait()


def _check_open(link: Link) -> None:
    """Raise ConnectionResetError where there is no connection any more for a change."""
    link.current()
    if link.gate.stops & SHUT or link.has_ended or link.transport.is_closing():
        raise ConnectionResetError("the connection is closed")


async def _shake_hands(link: Link, context: Any, options: dict[str, Any]) -> Any:
    """The transport over TLS.  Raises ConnectionAbortedError where plaintext is here."""
    _check_open(link)  # again: the loop may have read before this task began
    if link.holds_input():
        raise _injected()
    return await link.loop.start_tls(link.transport, link.protocol, context, **options)


def detach(link: Link) -> bytes:
    """Take *link* off its transport; returns the input that no hook was given.

    Raises what ``LineProtocol.detach()`` says, and has changed nothing then.
    """
    if link.gate.stops & (BUSY | TLS_BEGINS):
        raise RuntimeError("a hook cannot detach, nor start_tls(): let the loop call something")
    _check_open(link)
    while link.cut_rest():
        pass
    for event in link.held:
        if isinstance(event, LineTooLong):
            raise event
    if link.buffer.take(0) is None:
        raise ValueError("a line that is too long goes on, and what it began with is dropped")
    lines = [line for event in link.held if not isinstance(event, LineTooLong) for line in event]
    # That may raise, where nothing has changed yet.
    rest = link.join(lines) + link.buffer.rest()
    link.stop_reading()
    link.gate.stops |= SHUT
    link.held.clear()
    link.forget()
    return rest
