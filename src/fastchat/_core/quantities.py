"""Numbers that a program gives, limits and times: one check, and one way to say what is wrong.

Rules this file keeps:

* TypeError is raised for what is no such number, ValueError for what is too little or too much.
* The message has the name, what is wanted, and what was given, and is one short line.
* A bool is no number here: ``max_line=True`` is a slip.
"""

from __future__ import annotations

import sys
from typing import Any

# The largest number of seconds there is.
MOST = sys.float_info.max
# The longest period that makes sense, in seconds.
YEAR = 86400 * 365
# How much of what was given a message shows, in characters; and from where on an int has so many
# digits that only their number helps.
_SHOWN = 60
_LONG = 10**_SHOWN


def whole(name: str, value: Any, least: int, most: float = MOST, *, or_none: bool = False) -> int:
    """*value*, the int from *least* to *most* that *name* is.

    *or_none* is whether the caller takes None, too, and has dealt with it.  Raises TypeError and
    ValueError, whose message names *name*.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int{' or None' * or_none}, not {_shown(value)}")
    if not least <= value <= most:
        _refuse(name, value, _range(least, most), or_none)
    return value


def seconds(
    name: str,
    value: Any,
    least: float,
    most: float = MOST,
    *,
    or_none: bool = False,
    is_above: bool = False,
) -> float:
    """*value*, the number of seconds from *least* to *most* that *name* is, as a float.

    With *is_above*, *least* itself is too little.  The rest is as of ``whole``.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        kind = f"a number of seconds{' or None' * or_none}"
        raise TypeError(f"{name} must be {kind}, not {_shown(value)}")
    if not least <= value <= most or (is_above and value == least):
        wanted = f"{_above(least, most) if is_above else _range(least, most)} s"
        _refuse(name, value, "finite" if least == -MOST else wanted, or_none)
    return float(value)


def _range(least: float, most: float) -> str:
    return f"at least {least}" if most == MOST else f"from {least} to {most}"


def _above(least: float, most: float) -> str:
    return f"more than {least}" if most == MOST else f"more than {least} and at most {most}"


def _refuse(name: str, value: Any, wanted: str, or_none: bool) -> None:
    none = ", or None for no limit," * or_none
    raise ValueError(f"{name} must be {wanted}{none or ','} not {_shown(value)}")


def _shown(value: Any) -> str:
    if isinstance(value, int) and not -_LONG < value < _LONG:
        return f"an int of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
