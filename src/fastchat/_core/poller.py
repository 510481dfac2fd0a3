"""What ``epoll``, ``kqueue``, ``poll`` and ``select`` have in common, as ``pollers.py`` has them.

Only a checker of types reads this: a class of it would be made at each import, for nobody.
"""

from __future__ import annotations

from typing import ClassVar, Protocol


class Poller(Protocol):
    """What the four classes have in common.

    *fd* is a descriptor, *flags* any of READ, URGENT and WRITE, at least one.  Making an object
    raises OSError where it takes a descriptor of its own (epoll, kqueue) and there is none left.
    One whose ``close()`` was called is not to be used again.
    """

    name: ClassVar[str]  # that of the attribute of ``select``
    is_kernel_set: ClassVar[bool]  # a closed descriptor leaves the registrations silently
    always: dict[int, int]  # flags by descriptor: what is ready without asking the kernel
    muted: dict[int, int]  # flags by descriptor: those whose hang-up ends no wait any more

    def register(self, fd: int, flags: int) -> None:
        """Wait for *flags* on *fd*, which is not registered.

        A descriptor that is closed raises OSError (EBADF) with epoll and kqueue, and is INVALID at
        the next wait with the others.  A negative one raises ValueError with epoll and poll,
        OSError (EBADF) with kqueue, and is INVALID at the next wait with select.
        """

    def modify(self, fd: int, flags: int) -> None:
        """Wait for *flags* on *fd* from now on, in place of what it was registered with.

        Raises FileNotFoundError where *fd* is not registered or, with epoll, is another file than
        the one that was; and with epoll and kqueue OSError (EBADF) where it is closed.
        """

    def unregister(self, fd: int) -> bool:
        """Wait for *fd* no longer; whether it was registered until now.

        Raises nothing for a descriptor that is closed or unknown.  With epoll and kqueue one that
        has left the registrations by being closed was not registered.
        """
        ...

    def wait(self, milliseconds: int) -> list[tuple[int, int]]:
        """Wait until something happens; returns descriptors and what happened, each once.

        Does not wait where *milliseconds* is 0, and has no end where it is negative; it must be
        below 2 ** 31.  What happened are flags that were asked for, and unasked ERROR, HANG_UP and
        INVALID.  Raises PollerLost where a program has closed the descriptor of the set.
        """
        ...

    def mute(self, fd: int, flags: int) -> None:
        """Let the hang-up of *fd*, registered with *flags*, end no wait until it is modified.

        Whatever else happens to it ends that, and the wait, within a second where the system cannot
        do better.  The hang-up may be told once more, by no more than a wait that returns nothing.
        Does nothing where a hang-up ends no wait.  Raises what ``modify`` does.
        """

    def close(self) -> None:
        """Forget everything, and close the set where the kernel has one."""
