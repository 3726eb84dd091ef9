"""`fastsoftmax bench`: train with every backend from the same seed, and show them side by side."""

import argparse
import json
import os
import sys
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any

from .. import datasets, plotting
from ..backends import NAMES
from ..datasets import Dataset
from ..exceptions import DivergenceError
from . import machine, options
from .errors import FAILED, CommandError
from .measure import Settings, measure
from .numbers import size
from .record import as_record
from .results import TOLERANCES, Comparison, LeftOut

DESCRIPTION = """\
Train a softmax classifier by minibatch SGD with every backend, from the same
seed, and compare: the time of an epoch, the loss, the accuracy on test data, and
whether all backends took the same path. The data are the 1797 handwritten digits
that come with scikit-learn or, with --shape, made up in any size.
"""
EXAMPLES = """\
examples:
  fastsoftmax bench
        all backends on the digits: a table, and a picture in fastsoftmax-bench.png
  fastsoftmax bench --shape 60000x784x10 --batch-size 128
        made-up data of the size of MNIST; naive is timed on a sample
  fastsoftmax bench --backends vectorized,compiled --threads 1 --dtype float64
        two backends, on one thread, in double precision
  fastsoftmax bench --json - --no-plot > bench.json
        all numbers for a program to read; the table goes to standard error
"""
# From the plainest to the fastest.
_ORDER = tuple(reversed(NAMES))
_DEFAULT_PLOT = Path("fastsoftmax-bench.png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--shape",
        type=options.shape,
        metavar="NxDxC",
        help="train on N made-up samples of D features and C classes instead of the digits",
    )
    add(
        "--backends",
        type=options.backends,
        metavar="NAMES",
        help=f"which to compare, separated by commas (default: all: {','.join(_ORDER)})",
    )
    add(
        "--epochs",
        type=options.positive_integer,
        metavar="N",
        help="epochs to train (default: 30; with --shape: 5)",
    )
    add(
        "--batch-size",
        type=options.positive_integer,
        metavar="N",
        help="samples of a minibatch (default: 32; with --shape: 256)",
    )
    add(
        "--learning-rate",
        type=options.positive_number,
        metavar="RATE",
        help="how far a step goes (default: 0.5; with --shape: the largest that is safe for it)",
    )
    add("--dtype", choices=tuple(TOLERANCES), default="float32", help="(default: %(default)s)")
    add(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="for all backends, NumPy's BLAS included (default: as `fastsoftmax info` says)",
    )
    add(
        "--seed",
        type=options.seed,
        default=0,
        metavar="N",
        help="of the data and of the order of the samples (default: %(default)s)",
    )
    add(
        "--plot",
        type=Path,
        default=_DEFAULT_PLOT,
        metavar="FILE",
        help="where to save the picture; .png, .svg or .pdf (default: %(default)s)",
    )
    add("--no-plot", action="store_const", dest="plot", const=None, help="save no picture")
    add(
        "--json",
        metavar="FILE",
        help="save all settings, versions and times of epochs; - for standard output",
    )


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    _require(arguments)
    _check_targets(arguments)
    from rich.console import Console
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from .progress import ProgressBar
    from .report import print_comparison

    present, missing = _present(arguments.backends)
    data = _data(arguments, len(present))
    settings = _settings(arguments, data)
    tolerance = TOLERANCES[arguments.dtype]
    try:
        with ProgressBar() as watcher, threadpool_limits(settings.n_threads, user_api="blas"):
            results, too_slow = measure(present, data, settings, watcher)
    except DivergenceError as error:
        raise CommandError(f"argument --learning-rate: {settings.learning_rate:g}: {error}") from None
    comparison = Comparison(results, [*too_slow, *missing], tolerance)
    to_stdout = arguments.json == "-"
    console = Console(stderr=to_stdout, highlight=False)
    print_comparison(console, comparison, _heading(arguments, data, settings))
    ...
    return 0
