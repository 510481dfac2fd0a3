"""What the environment decides, read once, at the first import.

``FASTCHAT_IMPLEMENTATION`` is ``_backend.py``'s business.
"""

from __future__ import annotations

import os

_VARIABLE = "FASTCHAT_COALESCE"


def _read_coalesce() -> bool | None:
    value = os.environ.get(_VARIABLE, "")
    if value not in ("", "0", "1"):
        raise ImportError(f"{_VARIABLE} is {value!r}; it may be 0, 1 or not set")
    return value == "1" if value else None


# Whether output may be held: False for nobody, whatever a class says; True also in programs that do
# not know of fastchat; None, the default, in programs that import fastchat.asynchat themselves.
COALESCE = _read_coalesce()
