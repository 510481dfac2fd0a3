"""Why no line is given to a hook now: the bits of a gate's ``stops``.

Each has its own name, and ``SHUT`` and ``STOPPED`` are several.  ``BUSY``, the lowest, says that a
hook runs; it is the one that the gate itself sets.
"""

from fastchat._core.line_rules import BUSY

__all__ = [
    "BUSY",
    "CLOSING",
    "FULL",
    "GONE",
    "HELD",
    "LEFT",
    "PAUSED",
    "SHUT",
    "STOPPED",
    "TLS_BEGINS",
]

FULL = 2  # the transport has enough output
PAUSED = 4  # by pause_reading()
HELD = 8  # what is held comes first, as soon as the loop calls go_on()
CLOSING = 16  # by close()
GONE = 32  # aborted or lost: nothing can be sent any more
LEFT = 64  # a hook has left output to send, or lines to give
TLS_BEGINS = 128  # start_tls() runs, and what is sent waits for its end
SHUT = CLOSING | GONE
STOPPED = FULL | PAUSED | CLOSING
