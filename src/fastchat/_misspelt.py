"""What the author of a class may have meant by a name that is nearly that of a hook, or a limit.

Rules this file keeps:

* It warns, and refuses nothing: a class may have any name of its own.
* A name is compared with those of its own kind: functions with hooks, plain values with limits.
* No misspelling is a name that the base has, too, or one beside which the right one is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

# How alike two names are, from 0 to 1, where one is taken for the other.  ``lineReceived`` is just
# close enough to ``line_received``; ``timeout`` is not to ``timed_out``.
_CLOSE = 0.88


def warn_of_names(kind: type, base: type, hooks: Sequence[str], limits: Sequence[str]) -> None:
    """Warn of each name in the body of *kind* that is close to one of *base*, a hook or a limit.

    The warning is a UserWarning of the line where the class is made, by ``__init_subclass__``.
    """
    for name, value in vars(kind).items():
        is_function = callable(value)
        is_property = not is_function and hasattr(type(value), "__get__")
        if name.startswith("_") or hasattr(base, name) or is_property:
            continue
        meant = _closest(name, hooks if is_function else limits)
        if meant is not None and _is_from(kind, base, meant):
            what, shown = ("hook", "()") if is_function else ("limit", "")
            warnings.warn(
                f"{kind.__name__}.{name}{shown} is no {what} of a {base.__name__}, and has no "
                f"effect by itself: is {meant}{shown} meant?",
                stacklevel=3,
            )


def _is_from(kind: type, base: type, name: str) -> bool:
    """Whether *kind* has the *name* as *base* has it."""
    owners = [each for each in kind.__mro__ if name in vars(each)]
    return bool(owners) and owners[0] is base


def _closest(name: str, names: Sequence[str]) -> str | None:
    import difflib  # noqa: PLC0415 (few classes have names that have to be compared)

    found = difflib.get_close_matches(name, names, 1, _CLOSE)
    return found[0] if found else None
