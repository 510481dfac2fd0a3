"""The methods of channels through which every byte goes, where the core runs as it is.

``_methods_c.py`` has the same where it is compiled.
"""

from __future__ import annotations

from fastchat._core.facts import know_stock
from fastchat._core.incoming import drop_input as drop_input
from fastchat._core.incoming import (
    get_terminator,
    handle_read,
    handle_read_event,
    readable,
    recv,
)
from fastchat._core.outgoing import begin as begin
from fastchat._core.outgoing import enqueue as enqueue
from fastchat._core.outgoing import flush as flush
from fastchat._core.outgoing import flush_all as flush_all
from fastchat._core.outgoing import get_fifo as get_fifo
from fastchat._core.outgoing import get_socket as get_socket
from fastchat._core.outgoing import (
    handle_write,
    handle_write_event,
    initiate_send,
    push,
    send,
    writable,
)
from fastchat._core.outgoing import own_state as own_state
from fastchat._core.outgoing import set_socket as set_socket
from fastchat._core.shown import dress

_METHODS = (
    handle_read_event,
    handle_write_event,
    recv,
    send,
    handle_read,
    handle_write,
    get_terminator,
    readable,
    writable,
    push,
    initiate_send,
)

for _method in _METHODS:
    dress(_method)
know_stock({method.__name__: method for method in _METHODS})
