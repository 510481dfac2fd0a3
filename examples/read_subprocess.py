"""Numbers the lines of what a command prints, as they come, and ends with the status of it.

`python examples/read_subprocess.py make test`

A line of any length is shown: beyond 64 KiB in several pieces, so a command that prints without a
line end costs no memory.
"""

import signal
import subprocess
import sys

from fastchat import LineBuffer


def main(command: list[str]) -> int:
    lines = LineBuffer(max_line=65536, overflow="split")
    number = 0

    def show(found: list[bytes]) -> None:
        nonlocal number
        for line in found:
            number += 1
            sys.stdout.buffer.write(b"%6d  %b\n" % (number, line))
        sys.stdout.buffer.flush()

    # Unbuffered, so that a read returns what there is, and does not wait for more.
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        while data := process.stdout.read(65536):
            show(lines.feed(data))
        if (rest := lines.feed_eof()) is not None:
            show([rest])
    status = process.returncode
    return status if status >= 0 else 128 - status  # of a signal, as a shell says it


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # which Windows has not
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end without a word, as with `| head`
    sys.exit(main(sys.argv[1:]))
