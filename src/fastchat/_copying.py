"""What ``copy`` and ``pickle`` take of a channel: what CPython 3.11 had in the instance.

There ``socket``, ``producer_fifo``, ``ac_in_buffer`` and ``out_buffer`` were attributes of the
instance; here each is a property over something that is fastchat's own, and that no two channels
may share.  So a copy gets the values of the properties, and nothing whose name begins with _fc_.
"""

from __future__ import annotations

from typing import Any


def public(channel: Any, found: Any) -> Any:
    """*found*, what ``object.__getstate__()`` has for *channel*, as it was in CPython 3.11."""
    members, *slots = found if type(found) is tuple else (found,)
    if type(members) is not dict:
        return found  # of a base of the program's
    members = {name: value for name, value in members.items() if not name.startswith("_fc_")}
    for name in channel._fc_properties:
        if _is_hidden(channel, name):
            continue
        try:
            members[name] = getattr(channel, name)
        except AttributeError:
            pass  # it was deleted, or never assigned
    return (members, *slots) if slots else members


def restore(channel: Any, state: Any) -> None:
    """Give *channel*, which is new, the members in *state*, of which ``public`` made some."""
    members, *slots = state if type(state) is tuple else (state,)
    members = dict(members or {})
    for name in channel._fc_properties:
        if name in members and not _is_hidden(channel, name):
            setattr(channel, name, members.pop(name))
    vars(channel).update(members)
    for name, value in (slots[0] if slots else {}).items():
        setattr(channel, name, value)


def _is_hidden(channel: Any, name: str) -> bool:
    """Whether the class of *channel* has something of its own in place of the property *name*."""
    return not isinstance(getattr(type(channel), name, None), property)
