"""Numbers of a ``LineChannel``: why no line is given to its hooks now, and what they get instead.

They stand apart because compiled modules keep theirs for themselves.
"""

from __future__ import annotations

# Bits of ``LineState.stops``.
BUSY = 1  # a hook runs
LEFT = 2  # and has left something to do when it is done
FULL = 4  # more output waits than the high water mark
PAUSED = 8  # by pause_reading()
HELD = 16  # what waits comes first, when the loop calls go_on()
CLOSING = 32  # by close()
GONE = 64  # nothing can be sent any more
OVER = 128  # and connection_lost() was called
NESTED = 256  # a hook that runs makes passes, in which there is input
UNBEGUN = 512  # connection_made() was not called
# What is left of them when a hook is done.
DONE = ~(BUSY | LEFT | NESTED)
# What stops the lines of a hook that runs.
STOPPED = FULL | PAUSED | CLOSING

# Modes: lines, input as it comes, or one piece of a given size.
LINES, RAW, EXACT = 0, 1, 2
