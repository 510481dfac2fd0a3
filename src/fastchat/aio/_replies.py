"""What hooks return, and how lines are joined to be sent.

Rules this file keeps:

* What is no reply is refused with an error that says what its author may have meant.
* Who receives what was joined reads the same lines: what he would read otherwise is a ValueError.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable

from fastchat import LineBuffer, join_lines
from fastchat._core.line_rules import Data


def join(lines: Iterable[Data], delimiters: tuple[bytes, ...]) -> bytes:
    """The *lines* with the first of *delimiters* behind each.

    Raises ValueError where one has any of them inside, or makes one with what is behind it.
    """
    first = delimiters[0]
    if len(delimiters) == 1:
        return join_lines(lines, first)
    lines = list(lines)
    for other in delimiters[1:]:
        join_lines(lines, other)  # raises where one has it inside
    joined = join_lines(lines, first)
    if LineBuffer(delimiters, max_line=len(joined) + 1).feed(joined) != lines:
        raise ValueError(
            f"a line makes one of the delimiters {delimiters!r} with the {first!r} behind it, and "
            "would be read as another line"
        )
    return joined


def check_run(result: object) -> None:
    """Raise TypeError where a hook has not run: *result* is a coroutine or a generator."""
    if inspect.iscoroutine(result):
        result.close()  # which it would say nobody has awaited
        raise TypeError("a hook is no coroutine function: let it start a task")
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        raise TypeError("a hook is no generator function, of which nothing has run")


def not_a_reply(reply: object) -> TypeError:
    """The error for *reply*, with what its author may have meant."""
    if isinstance(reply, str):
        found = "not str: use .encode()"
    elif inspect.iscoroutine(reply):
        reply.close()  # which it would say nobody has awaited
        found = "and a hook no coroutine: let it start a task"
    else:
        found = f"not {type(reply).__name__}"
    return TypeError(f"a reply is bytes, a list of bytes or None, {found}")
