"""`fastsoftmax bench`: train with every backend from the same seed, and show them side by side."""

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path

from .. import plotting
from .._optional import why_missing
from ..datasets import Dataset
from . import files, machine, options, stored_runs, workload
from .errors import FAILED, CommandError
from .html_report import render
from .profiles import profile_runs
from .record import as_record, head_of_record
from .results import ORDER, TOLERANCES, Comparison, LeftOut
from .timing import prepare, train

DESCRIPTION = """\
Train a softmax classifier by minibatch SGD with every backend, from the same
seed, and compare: the time of an epoch, the loss, the accuracy on test data, and
whether all backends followed the same path. The data are the 1797 handwritten
digits that come with scikit-learn or, with --shape, synthetic data of any size.
"""
EXAMPLES = """\
examples:
  fastsoftmax bench
        all backends on the digits: a table, and a picture in fastsoftmax-bench.png
  fastsoftmax bench --shape 60000x784x10 --batch-size 128
        synthetic data of the size of MNIST; naive is timed on a sample
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
_OF_A_RUN = ("shape", "backends", "epochs", "batch_size", "eta0", "threads", "report")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add(
        "--shape",
        type=options.shape,
        metavar="NxDxC",
        help="train on N synthetic samples of D features and C classes instead of the digits",
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
        help="epochs to train (default: 30; with --shape: 5)",
    )
    add(
        "--batch-size",
        type=options.positive_integer,
        metavar="N",
        help="samples per minibatch (default: 32; with --shape: 256)",
    )
    add(
        "--eta0",
        type=options.positive_number,
        metavar="RATE",
        help="step size (default: 0.5; with --shape: one that suits D)",
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
    stored_runs.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    load = machine.load()  # first, as this run will add its own
    if stored_runs.compare_files(arguments, _OF_A_RUN):
        return 0
    old = stored_runs.old_run(arguments)
    _require(arguments)
    _check_targets(arguments)
    from rich.console import Console
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from .progress import ProgressBar
    from .report import print_comparison

    present, missing = _present(arguments.backends)
    with ProgressBar() as listener:
        data = workload.load(arguments.shape, arguments.dtype, arguments.seed, len(present))
        settings = workload.settings(arguments, data)
        if old is not None:  # before the training, which would be in vain
            head = head_of_record(arguments.shape, data, settings, load)
            stored_runs.check_comparable(old, stored_runs.of_record(head, "this run", None))
        # The vectorized backend has no other control over the number of threads.
        with threadpool_limits(settings.n_threads, user_api="blas"):
            runs, too_slow = prepare(present, data, settings, listener)
            if arguments.backends and too_slow:
                name, _, reason = too_slow[0]
                raise CommandError(f"argument --backends: {name!r} is too slow here: {reason}")
            train(runs, settings, listener)
            results = [run.result(data) for run in runs]
            profiles = None
            if arguments.report is not None:
                profiles = profile_runs(runs, data, settings, listener)
    comparison = Comparison(results, [*too_slow, *missing], TOLERANCES[arguments.dtype])
    sets = machine.instruction_sets() if "compiled" in present else None
    instruction_set = None if sets is None else sets[0]
    console = Console(stderr=arguments.json == "-", highlight=False)
    heading = workload.description(arguments.shape, data, settings, instruction_set)
    print_comparison(console, comparison, heading)
    if (note := machine.note_of_load(load, machine.cpus())) is not None:
        console.print(note)
    if arguments.plot is not None:
        if comparison.reference is None:
            console.print("No picture: no backend has trained on all samples.")
        else:
            _save_plot(arguments.plot, comparison, data, heading)
            console.print(f"Picture: {arguments.plot}", markup=False, soft_wrap=True)
    record = as_record(arguments.shape, comparison, data, settings, load)
    if old is not None:
        new = stored_runs.of_record(record, "this run", "bench")
        console.print()
        record["comparison"] = stored_runs.print_comparison(old, new, console.file)
    if profiles is not None:
        record["profiles"] = profiles
        page = render(record, _weights(comparison, data))
        files.write_page("--report", arguments.report, page)
        console.print(f"Report: {arguments.report}", markup=False, soft_wrap=True)
    if arguments.json is not None:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        files.write_text("--json", arguments.json, text)
    return 0


def _require(arguments: argparse.Namespace) -> None:
    """Import the packages that this run needs beyond NumPy, to name all missing ones together."""
    needed = {"rich.progress": "rich", "threadpoolctl": "threadpoolctl"}
    if arguments.plot is not None:
        needed["matplotlib.figure"] = "matplotlib"
    if arguments.shape is None:
        needed["sklearn.datasets"] = "scikit-learn"
    reasons = {package: why_missing(module) for module, package in needed.items()}
    missing = [f"{package} ({reason})" for package, reason in reasons.items() if reason is not None]
    if missing:
        raise CommandError(f"needs what is not available: {', '.join(missing)}", FAILED)


def _check_targets(arguments: argparse.Namespace) -> None:
    """Check before training that the results can be saved."""
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


def _present(named: tuple[str, ...] | None) -> tuple[list[str], list[LeftOut]]:
    """Return the backends that are available, and the others, which it is an error to name."""
    present, missing = [], []
    for name in ORDER:
        if named is not None and name not in named:
            continue
        reason = machine.reason_against(name)
        if reason is None:
            present.append(name)
        elif named is None:
            missing.append(LeftOut(name, "not available", reason))
        else:
            raise CommandError(f"argument --backends: {name!r} is not available: {reason}")
    return present, missing


def _save_plot(
    path: Path, comparison: Comparison, data: Dataset, heading: Mapping[str, str]
) -> None:
    curves = {
        result.backend: result.loss_curve
        for result in comparison.results
        if result.loss_curve is not None
    }
    shown = comparison.results[-1]
    figure = plotting.plot_bench(
        curves,
        {result.backend: result.samples_per_second for result in comparison.results},
        [result.backend for result in comparison.results if result.extrapolated],
        title=f"{heading['data']}\n{heading['training']}; {heading['machine']}",
        coef=shown.coef,
        image_shape=data.image_shape,
        templates_title=f"weight of every pixel for each digit, as learned by {shown.backend}",
    )
    try:
        files.save_picture("--plot", path, figure)
    except CommandError as error:
        raise CommandError(f"{error}{_instead(path)}", FAILED) from None


def _weights(comparison: Comparison, data: Dataset) -> bytes | None:
    """Return the picture of the learned weights for the report, if samples are images."""
    coef = comparison.results[-1].coef
    if coef is None or data.image_shape is None:
        return None
    try:
        figure = plotting.plot_templates(coef, data.image_shape)
    except ImportError:  # without --plot, matplotlib may be missing
        return None
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
