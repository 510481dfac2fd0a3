"""Types of the compiled module: those of its twins."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastchat._channel_py import begin as begin
from fastchat._channel_py import drop_input as drop_input
from fastchat._channel_py import enqueue as enqueue
from fastchat._channel_py import flush as flush
from fastchat._channel_py import flush_all as flush_all
from fastchat._channel_py import flush_everything as flush_everything
from fastchat._channel_py import get_fifo as get_fifo
from fastchat._channel_py import get_socket as get_socket
from fastchat._channel_py import leave_to_the_parent as leave_to_the_parent
from fastchat._channel_py import own_state as own_state
from fastchat._channel_py import set_socket as set_socket
from fastchat._scanner_py import as_bytes as as_bytes
from fastchat._scanner_py import check_terminators as check_terminators
from fastchat._scanner_py import cut_plainly as cut_plainly
from fastchat._scanner_py import drive as drive
from fastchat._scanner_py import find_first_terminator as find_first_terminator
from fastchat._scanner_py import find_prefix_at_end as find_prefix_at_end
from fastchat._scanner_py import find_terminator as find_terminator
from fastchat._scanner_py import find_terminators as find_terminators
from fastchat._state_py import State as State

COMPANIONS: dict[str, ModuleType]

def know(channel: Any, state: State | None) -> int: ...
def knows_class_of(channel: Any) -> bool: ...
def make_methods(functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]: ...
