"""The old name, for type checkers: see ``asyncore.pyi``."""

from fastchat.asynchat import *  # noqa: F403
