"""Prints the lines of a log that have a word, however long the log is.

`python examples/big_log.py ERROR < /var/log/syslog`

The log is read 64 KiB at a time, into the room of the buffer, and is never in memory as a whole. Of
a line of more than 1 MiB each piece is looked at for itself.
"""

import io
import os
import signal
import sys

from fastchat import LineBuffer, join_lines


def main(word: bytes) -> int:
    lines = LineBuffer(max_line=2**20, overflow="split")
    count = 0

    def show(found: list[bytes]) -> None:
        nonlocal count
        count += len(found)
        sys.stdout.buffer.write(join_lines(line for line in found if word in line))

    with io.FileIO(0, closefd=False) as log:
        while size := log.readinto(lines.get_buffer()):
            show(lines.buffer_updated(size))
    if (rest := lines.feed_eof()) is not None:
        show([rest])
    sys.stdout.flush()
    return count


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # which Windows has not
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a word, as with `| head`
    print(f"{main(os.fsencode(sys.argv[1])):,} lines looked at", file=sys.stderr)
