"""A target for the records of runs that `bench --compare` and `profile --compare` read.

The first byte chooses the command, the rest is the old file and, after a mark, the new one.
"""

import io

from fastsoftmax.cli import stored_runs
from fastsoftmax.cli.errors import CommandError

from .decoding import Choices, file_of


def stored_run(data: bytes) -> None:
    choices = Choices(data)
    command = choices.one_of(("bench", "profile"))
    old, _, new = choices.rest().partition(b"<next>")
    try:
        runs = [stored_runs.read(file_of("run.json", content), command) for content in (old, new)]
        check_comparison(stored_runs.print_comparison(*runs, io.StringIO()))
    except CommandError as error:
        message = str(error)
        assert message.isprintable(), f"not fit to print: {message!r}"
        assert message.startswith("argument --compare: "), message


def check_comparison(comparison: dict) -> None:
    for row in comparison["rows"]:
        assert row["old_seconds"] > 0
        assert row["new_seconds"] > 0
        if row["difference"] is not None:
            assert 0 < row["difference"]["low"] <= row["difference"]["ratio"]
            assert row["difference"]["ratio"] <= row["difference"]["high"] < float("inf")


TARGETS = {"stored_run": stored_run}
