"""Say in a line what keeps this machine from compiling fastchat; ``make`` asks before it builds.

``python tools/compiler.py WITHOUT``: ends with status 1 and one line, of which WITHOUT, the command
that does without compiling, is the end.  What compiles says nothing.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def obstacle() -> str:
    """What is missing, or ``""``."""
    if platform.python_implementation() != "CPython":
        return ""  # nothing is compiled there
    include = sysconfig.get_path("include")
    headers = [f"-I{include}", f"-I{sysconfig.get_path('platinclude')}"]  # where pyconfig.h may be
    headers += shlex.split(os.environ.get("CPPFLAGS", ""))
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "any.c")
        source.write_text("#include <Python.h>\n")
        try:
            subprocess.run(
                [*command, *headers, "-c", source, "-o", source.with_suffix(".o")],
                check=True,
                capture_output=True,
            )
        except OSError as failure:
            return f"no C compiler ({command[0]}: {failure.strerror})"
        except subprocess.CalledProcessError:
            if not Path(include, "Python.h").exists():
                return f"no headers of Python ({include}/Python.h)"
            return f"no C compiler that works ({command[0]})"
    return ""


if __name__ == "__main__":
    if missing := obstacle():
        sys.exit(f"There is {missing} here. To go on without: {sys.argv[1]}")
