"""What a server is doing, on one line of a terminal, where rich is installed.

Rules this file keeps:

* Where standard error is no terminal, or rich is not there, nothing is shown, and nothing said.
* What the program prints and logs meanwhile stands above the line, which leaves nothing behind.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from fastchat import Server

EVERY = 1.0  # seconds


class StatusLine:
    """A context in which ``show`` writes the line anew.

    Enter it before logging is set up, so that what is logged goes through here.
    """

    def __init__(self) -> None:
        self._live: Live | None = None
        self._text: type[Text]

    def __enter__(self) -> StatusLine:
        if sys.stderr is not None and sys.stderr.isatty():
            try:
                from rich.console import Console  # noqa: PLC0415 (it may not be there)
                from rich.live import Live  # noqa: PLC0415
                from rich.text import Text  # noqa: PLC0415
            except ImportError:
                return self
            self._text = Text
            self._live = Live(
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
                redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            )
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, server: Server) -> None:
        """Show what *server* is doing now."""
        if self._live is not None:
            stats = server.stats()
            refused = stats.over_max_connections + stats.over_max_per_address
            text = (
                f"{stats.state} for {stats.uptime:,.0f} s: {stats.open:,} open,"
                f" {stats.accepted:,} accepted, {refused:,} refused,"
                f" {stats.over_max_memory:,} ended for memory, {stats.memory / 2**20:,.1f} MiB wait"
            )
            # One line, however narrow the terminal is, and numbers in no colours.
            shown = self._text(text, no_wrap=True, overflow="ellipsis")
            self._live.update(shown, refresh=True)
