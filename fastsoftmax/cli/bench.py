"""`fastsoftmax bench`: train with every backend from the same seed, and show them side by side."""

import argparse
import json
from pathlib import Path

from .._optional import why_missing
from . import comparing, data, files, loss_core, machine, options, own_data, stored_runs, workload
from .errors import FAILED, CommandError
from .html_report import render
from .record import head_of_record
from .results import ORDER, TOLERANCES

DESCRIPTION = """\
Train a softmax classifier by minibatch SGD with every backend, from the same
seed, and compare: the time of an epoch, the loss, the accuracy on test data, and
whether all backends followed the same path. The data are the 1797 handwritten
digits that come with scikit-learn, your own with --data or, with --shape, synthetic
data of any size.
"""
EXAMPLES = """\
examples:
  fastsoftmax bench
        all backends on the digits: a table, and a picture in fastsoftmax-bench.png
  fastsoftmax bench --shape 60000x784x10 --batch-size 128
        synthetic data of the size of MNIST; naive is timed on a sample
  fastsoftmax bench --data cifar-10-batches-py
        your own samples, in any format that `train` reads
  fastsoftmax bench --loss 4096x50257
        no training: the time of one call of softmax, cross-entropy and its gradient
  fastsoftmax bench --backends vectorized,compiled --threads 1 --dtype float64
        two backends, on one thread, in double precision
  fastsoftmax bench --json - --no-plot > bench.json
        all numbers for a program to read; the table goes to standard error
  fastsoftmax bench --report bench.html
        a page for a lecture: why fused code is faster, with the numbers of this run
  fastsoftmax bench --compare old.json
        the same run again, and how its times differ from those that --json has saved
"""
_DEFAULT_PLOT = Path("fastsoftmax-bench.png")
_OF_A_RUN = ("shape", "data", "backends", "epochs", "batch_size", "eta0", "threads", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add_source = parser.add_mutually_exclusive_group().add_argument
    add_source(
        "--shape",
        type=options.shape,
        metavar="NxDxC",
        help="train on N synthetic samples of D features and C classes instead of the digits",
    )
    add_source(
        "--data",
        type=Path,
        metavar="DATA",
        help="train on your own samples, such as the folder of CIFAR-10",
    )
    add_source(
        "--loss",
        type=options.loss_shape,
        metavar="NxC",
        help="time calls of the loss core on N rows of C logits, or on NxDxC (features); train nothing",
    )
    add(
        "--backends",
        type=options.backends,
        metavar="NAMES",
        help=f"which to compare, separated by commas (default: all: {','.join(ORDER)})",
    )
    add(
        "--epochs",
        type=options.positive_integer,
        metavar="N",
        help="epochs to train (default: 30; with --shape or --data: 5)",
    )
    add(
        "--batch-size",
        type=options.positive_integer,
        metavar="N",
        help="samples per minibatch (default: 32; with --shape or --data: 256)",
    )
    add(
        "--eta0",
        type=options.positive_number,
        metavar="RATE",
        help="step size (default: 0.5; with --shape or --data: one that suits them)",
    )
    add(
        "--dtype",
        choices=tuple(TOLERANCES),
        default="float32",
        help="dtype of data and weights (default: %(default)s)",
    )
    add(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="threads of all backends, NumPy's BLAS included (default: see `fastsoftmax info`)",
    )
    add(
        "--seed",
        type=options.seed,
        default=0,
        metavar="N",
        help="seed of the data and of the order of the samples (default: %(default)s)",
    )
    add_picture = parser.add_mutually_exclusive_group().add_argument
    add_picture(
        "--plot",
        type=Path,
        default=_DEFAULT_PLOT,
        metavar="FILE",
        help="where to save the picture; .png, .svg or .pdf (default: %(default)s)",
    )
    add_picture("--no-plot", action="store_const", dest="plot", const=None, help="save no picture")
    add(
        "--json",
        metavar="FILE",
        help="save all settings, versions and epoch times; - for standard output",
    )
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="save a page for a lecture, .html, with explanations; also profiles every backend",
    )
    data.add_arguments(parser)
    stored_runs.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    load = machine.load()  # first, as this run will add its own
    if arguments.loss is not None:
        return _time_loss(arguments, load)
    if stored_runs.compare_files(arguments, _OF_A_RUN):
        return 0
    old = stored_runs.old_run(arguments)
    _require(arguments)
    _check_targets(arguments)
    from rich.console import Console

    from .progress import ProgressBar
    from .report import print_comparison

    backends = comparing.available(arguments.backends)
    with ProgressBar() as listener:
        n_backends = len(backends[0])
        if arguments.data is not None:
            work = own_data.load(arguments, n_backends)
        else:
            work = workload.bundled(arguments.shape, arguments.dtype, arguments.seed, n_backends)
        if old is not None:  # before the training, which would be in vain
            head = head_of_record(work, workload.settings(arguments, work), load)
            stored_runs.check_comparable(old, stored_runs.of_record(head, "this run", None))
        outcome = comparing.compare(
            arguments, work, backends, listener, load, with_profiles=arguments.report is not None
        )
    console = Console(stderr=arguments.json == "-", highlight=False)
    print_comparison(console, outcome.comparison, outcome.heading)
    if (note := machine.note_of_load(load, machine.cpus())) is not None:
        console.print(note)
    if arguments.plot is not None:
        if outcome.comparison.reference is None:
            console.print("No picture: no backend has trained on all samples.")
        else:
            _save_plot(arguments.plot, outcome)
            console.print(f"Picture: {arguments.plot}", markup=False, soft_wrap=True)
    record = outcome.record
    if old is not None:
        new = stored_runs.of_record(record, "this run", "bench")
        console.print()
        record["comparison"] = stored_runs.print_comparison(old, new, console.file)
    if arguments.report is not None:
        page = render(record, outcome.weights())
        files.write_page("--report", arguments.report, page)
        console.print(f"Report: {arguments.report}", markup=False, soft_wrap=True)
    if arguments.json is not None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        files.write_text("--json", arguments.json, text)
    return 0


def _time_loss(arguments: argparse.Namespace, load: float | None) -> int:
    """Time the loss core instead of training."""
    for name in ("epochs", "batch_size", "eta0", "report", "compare", *data.OPTIONS):
        if getattr(arguments, name) is not None:
            option = name.replace("_", "-")
            raise CommandError(f"argument --{option}: is not of --loss, which trains nothing")
    if arguments.plot not in (None, _DEFAULT_PLOT):
        raise CommandError("argument --plot: is not of --loss, which has no picture")
    files.check_target("--json", arguments.json)
    present, missing = comparing.available(arguments.backends)
    code = loss_core.run(arguments, present, arguments.dtype, arguments.seed, load)
    if arguments.json != "-":
        for absent in missing:
            print(f"{absent.backend}: {absent.status}: {absent.reason}")
    return code


def _require(arguments: argparse.Namespace) -> None:
    """Import the packages that this run needs beyond NumPy, to name all missing ones together."""
    needed = {"rich.progress": "rich", "threadpoolctl": "threadpoolctl"}
    if arguments.plot is not None:
        needed["matplotlib.figure"] = "matplotlib"
    if arguments.shape is None and arguments.data is None:
        needed["sklearn.datasets"] = "scikit-learn"
    reasons = {package: why_missing(module) for module, package in needed.items()}
    missing = [f"{package} ({reason})" for package, reason in reasons.items() if reason is not None]
    if missing:
        raise CommandError(f"needs what is not available: {', '.join(missing)}", FAILED)


def _check_targets(arguments: argparse.Namespace) -> None:
    """Check before training that options have a use, and that the results can be saved."""
    for name in data.OPTIONS:
        if arguments.data is None and getattr(arguments, name) is not None:
            option = name.replace("_", "-")
            raise CommandError(f"argument --{option}: needs --data, which it describes")
    json_file = None if arguments.json in (None, "-") else Path(arguments.json).resolve()
    for path, what in ((arguments.plot, "picture"), (arguments.report, "report")):
        if path is not None and path.resolve() == json_file:
            raise CommandError(f"argument --json: {arguments.json!r} is where the {what} goes")
    for option, path in (("--plot", arguments.plot), ("--json", arguments.json)):
        files.check_target(option, path, _instead(path) if path is not None else "")
    files.check_picture("--plot", arguments.plot)
    files.check_page("--report", arguments.report)


def _instead(path: Path | str) -> str:
    """Return advice for a default picture that cannot be saved."""
    return "; choose another with --plot, or --no-plot" if path is _DEFAULT_PLOT else ""


def _save_plot(path: Path, outcome: comparing.Outcome) -> None:
    try:
        files.save_picture("--plot", path, outcome.picture())
    except CommandError as error:
        raise CommandError(f"{error}{_instead(path)}", FAILED) from None
