"""A program whose standard error is a terminal."""

import os
import pty
import subprocess
import sys


def output_on_terminal(program: str) -> bytes:
    """Run a Python program, which must succeed, and return what it writes to its terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=environment)
    os.close(theirs)
    text = b""
    try:
        while block := os.read(ours, 4096):
            text += block
    except OSError:  # the other end has closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return text
