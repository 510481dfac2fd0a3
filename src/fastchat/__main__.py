"""``python -m fastchat``: see ``cli``."""

from fastchat.cli import main

main()
