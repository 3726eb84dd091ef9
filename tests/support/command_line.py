"""Running the command line: in this process, in another, in a terminal."""

import csv
import os
import pty
import subprocess
import sys

import numpy as np

from fastsoftmax.cli import main

WINES = np.array(["barbera", "barolo", "grignolino"])
DTYPES_OF_TEXT = [object]
if hasattr(np.dtypes, "StringDType"):
    DTYPES_OF_TEXT.append(np.dtypes.StringDType())


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def output_of(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    return out


def error_of(capsys, *arguments, code=2):
    """The one line of an error."""
    ended, out, err = run(capsys, *arguments)
    assert (ended, out) == (code, ""), err
    assert err.count("\n") == 1
    assert err.startswith("fastsoftmax")
    return err


def write_table(path, X, columns, labels=None):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([*row, *label] for row, label in zip(X.tolist(), labels, strict=True))


def in_terminal(arguments, columns="80"):
    """Exit code and what a terminal has shown."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": columns}
    command = [sys.executable, "-m", "fastsoftmax", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # Linux's end of a terminal
            pass
    os.close(ours)
    return process.returncode, shown.decode()


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
