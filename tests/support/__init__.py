"""What the tests share, and no test: loading implementations, sockets, channels, builds, plugins.

Nothing is imported here: what ``patched`` and ``sockets_of_others`` do has to come before the
import of fastchat.
"""
