"""The old name, for type checkers: it means what ``fastchat.install()`` and ``run`` make of it.

The stub that type checkers come with leaves out much of what programs use, and ends with Python
3.11.  A program that runs on fastchat can have a file like this one, where its type checker looks
first: in ``typings/`` for pyright, on ``mypy_path`` for mypy.
"""

from fastchat.asyncore import *  # noqa: F403
from fastchat.asyncore import _DISCONNECTED as _DISCONNECTED
from fastchat.asyncore import _exception as _exception
from fastchat.asyncore import _reraised_exceptions as _reraised_exceptions
from fastchat.asyncore import _strerror as _strerror
