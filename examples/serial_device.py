"""Reads a device on a serial line in a thread, and prints the measurements that it sends.

`python examples/serial_device.py /dev/ttyUSB0`, for lines such as `21.5` that end in CR LF.

What noise makes of a line is dropped when it is too long, and counted, and else shown as no number;
the thread stops reading while nobody takes what it has read.
"""

import io
import os
import queue
import re
import sys
import termios
import threading
import tty

from fastchat import LineBuffer

MEASUREMENT = re.compile(rb"-?[0-9]+(\.[0-9]+)?")


def open_raw(path: str) -> io.FileIO:
    """The device, at 9,600 baud, which gives its bytes as they come."""
    flags = os.O_RDWR | os.O_NOCTTY
    file = io.FileIO(path, "r+", opener=lambda path, _: os.open(path, flags))
    tty.setraw(file.fileno())
    mode = termios.tcgetattr(file)
    mode[4] = mode[5] = termios.B9600
    termios.tcsetattr(file, termios.TCSANOW, mode)
    return file


def read(file: io.FileIO, lines: LineBuffer, found: "queue.Queue[bytes | None]") -> None:
    try:
        while count := file.readinto(lines.get_buffer()):
            for line in lines.buffer_updated(count):
                found.put(line)
    except OSError as failure:  # what Linux says when the device was unplugged
        print(f"the device is gone: {failure.strerror}", flush=True)
    finally:
        found.put(None)


def main(path: str) -> None:
    lines = LineBuffer(b"\r\n", max_line=80, overflow="discard")
    found: queue.Queue[bytes | None] = queue.Queue(1000)
    with open_raw(path) as file:
        print(f"reading {path}", flush=True)
        threading.Thread(target=read, args=[file, lines, found], daemon=True).start()
        while (line := found.get()) is not None:
            if MEASUREMENT.fullmatch(line):
                print(f"{float(line):.1f} degrees, {lines.dropped} bytes dropped", flush=True)
            else:
                print(f"no measurement: {line!r}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
