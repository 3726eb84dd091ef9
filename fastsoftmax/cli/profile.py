"""`fastsoftmax profile`: the time of a training run by phase, compared to the limits of the machine."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends import NAMES
from ..backends.recorder import PASS
from ..classifier.classifier import SoftmaxClassifier
from ..profiling.profiler import profile
from ..profiling.provenance import cpu_name, provenance
from . import files, loss_core, machine, options, peers, stored_runs, workload
from .errors import CommandError
from .numbers import count

DESCRIPTION = """\
Train a softmax classifier and show where the time goes: by phase, the time, the
floating-point operations and bytes per second, and their share of this machine's
peak, which is measured as well. The data are synthetic, of any size with --shape, or
your own.
"""
EXAMPLES = """\
examples:
  fastsoftmax profile
        60000x784x10, the size of MNIST, with the compiled backend
  fastsoftmax profile --shape 20000x2048x1000 --plot roofline.png --peers
        a picture of the phases, and of other installed libraries
  fastsoftmax profile --data digits.npz --batch-size 32 --trace trace.json
        your own arrays X and y, and every interval of work for ui.perfetto.dev
  fastsoftmax profile --backend vectorized --threads 1
        the same for NumPy
  fastsoftmax profile --loss 4096x50257
        the time of one call of softmax, cross-entropy and its gradient
  fastsoftmax profile --solver lbfgs --standardize
        the parts of an iteration of the solver, and the phases within them
  fastsoftmax profile --compare old.json
        the same run again, and how its times differ from those that --json has saved
"""
_SHAPE = (60_000, 784, 10)
_BATCH_SIZE = 128
_EPOCHS = {"sgd": 5, "lbfgs": 20}  # by solver
_OF_A_RUN = (
    "data",
    "dtype",
    "epochs",
    "batch_size",
    "threads",
    "plot",
    "peers",
    "trace",
    "flame_graph",
)
_SEED = 0  # for the synthetic data and the order of the samples


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("--backend", choices=NAMES, default="compiled", help="default: %(default)s")
    add(
        "--solver",
        choices=tuple(_EPOCHS),
        default="sgd",
        help="sgd: minibatches; lbfgs: passes over all samples (default: sgd)",
    )
    data = parser.add_mutually_exclusive_group().add_argument
    data(
        "--shape",
        type=options.shape,
        default=_SHAPE,
        metavar="NxDxC",
        help="N synthetic samples of D features and C classes (default: 60000x784x10)",
    )
    data(
        "--data",
        type=Path,
        metavar="FILE",
        help=".npz with the arrays X (samples, features) and y, or .npy with X, and --labels",
    )
    data(
        "--loss",
        type=options.loss_shape,
        metavar="NxC",
        help="time calls of the loss core on N rows of C logits, or on NxDxC (features); train nothing",
    )
    add("--labels", type=Path, metavar="FILE", help=".npy with the labels of a --data file in .npy")
    add(
        "--batch-size",
        type=options.positive_integer,
        metavar="N",
        help=f"of solver sgd (default: {_BATCH_SIZE})",
    )
    add(
        "--epochs",
        type=options.positive_integer,
        metavar="N",
        help="of sgd (default: 5), or iterations of lbfgs (default: 20)",
    )
    add(
        "--dtype",
        choices=("float32", "float64", "float16", "uint8"),
        help="dtype of synthetic data (default: float32)",
    )
    add("--standardize", action="store_true", help="standardise the features within the kernels")
    add(
        "--threads",
        type=options.positive_integer,
        metavar="N",
        help="number of threads (default: see `fastsoftmax info`)",
    )
    add("--plot", type=Path, metavar="FILE", help="save a roofline picture; .png, .svg or .pdf")
    add("--peers", action="store_true", help="time other libraries too, if they are installed")
    add("--trace", type=Path, metavar="FILE", help="save a trace for ui.perfetto.dev")
    add(
        "--flame-graph",
        type=Path,
        metavar="FILE",
        help="save a flame graph of every thread for speedscope.app",
    )
    add("--json", metavar="FILE", help="save all numbers; - for standard output")
    stored_runs.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command."""
    load = machine.load()  # first, as this run will add its own
    if arguments.loss is not None:
        return _time_loss(arguments, load)
    if stored_runs.compare_files(arguments, _OF_A_RUN):
        return 0
    old = stored_runs.old_run(arguments)
    _check(arguments)
    is_sgd = arguments.solver == "sgd"
    arguments.epochs = arguments.epochs or _EPOCHS[arguments.solver]
    if is_sgd:
        arguments.batch_size = arguments.batch_size or _BATCH_SIZE
    X, y = _load(arguments)
    n_threads = arguments.threads or machine.threads()[0]
    of_sgd: dict[str, Any] = {}
    if is_sgd:
        of_sgd = {"learning_rate": "constant", "batch_size": arguments.batch_size, "eta0": 1e-3}
    model = SoftmaxClassifier(
        solver=arguments.solver,
        backend=arguments.backend,
        max_iter=arguments.epochs,
        tol=None,
        standardize=arguments.standardize,
        random_state=_SEED,
        n_jobs=n_threads,
        **of_sgd,
    )
    try:
        # A warm-up: threads start, and numba compiles.
        SoftmaxClassifier(**{**model.get_params(), "max_iter": 1}).fit(X, y)
        machine.wait_for_sleeping_threads()
        records_all = arguments.trace is not None or arguments.flame_graph is not None
        with profile(records_all, _settings(arguments, X, n_threads)) as p:
            model.fit(X, y)
        p.settings["n_classes"] = len(model.classes_)
    except (ValueError, TypeError) as error:
        raise CommandError(f"argument --data: {error}") from None
    others: dict[str, float] = {}
    absent: dict[str, str] = {}
    if arguments.peers:
        others, absent = peers.seconds_per_epoch(X, y, arguments.batch_size, n_threads)
    if arguments.json != "-":
        print(f"{_title(arguments, p, X, model)}; {cpu_name()}\n")
        print(p.table(), end="")
        if not is_sgd:
            print(_rate_of_passes(p, X.shape[0] * model.coef_.size))
        for name, seconds in others.items():
            print(f"{name}: {1e3 * seconds:.3f} ms per epoch")
        for name, reason in absent.items():
            print(f"{name}: not available: {reason}")
    machine.warn_of_load(load, to_stderr=arguments.json == "-")
    record = {
        **p.as_record(),
        **provenance(load),
        "peers": others,
        "peers_not_available": absent,
    }
    if old is not None:
        new = stored_runs.of_record(record, "this run", "profile")
        file = sys.stderr if arguments.json == "-" else sys.stdout
        print(file=file)
        record["comparison"] = stored_runs.print_comparison(old, new, file)
    _save(arguments, p, record)
    return 0


def _time_loss(arguments: argparse.Namespace, load: float | None) -> int:
    """Time the loss core instead of training."""
    for name in (
        "labels",
        "batch_size",
        "epochs",
        "standardize",
        "plot",
        "peers",
        "trace",
        "flame_graph",
        "compare",
    ):
        if getattr(arguments, name):
            option = name.replace("_", "-")
            raise CommandError(f"argument --{option}: is not of --loss, which trains nothing")
    if arguments.dtype not in (None, "float32", "float64"):
        raise CommandError(
            f"argument --dtype: expected float32 or float64 with --loss, got {arguments.dtype!r}"
        )
    _check_backend(arguments.backend)
    files.check_target("--json", arguments.json)
    dtype = arguments.dtype or "float32"
    return loss_core.run(arguments, [arguments.backend], dtype, _SEED, load)


def _check_backend(name: str) -> None:
    if (reason := machine.reason_against(name)) is not None:
        raise CommandError(f"argument --backend: {name!r} is not available: {reason}")


def _title(
    arguments: argparse.Namespace, p: profile, X: NDArray[Any], model: SoftmaxClassifier
) -> str:
    """Return the backend, the shape and how much was trained."""
    shape = f"{X.shape[0]}x{X.shape[1]}x{len(model.classes_)}, {X.dtype}"
    if arguments.solver != "sgd":
        return f"{arguments.backend}: {shape}, lbfgs, {count(model.n_iter_, 'iteration')}"
    algorithm = f" ({p.epochs[0].step_algorithm})" if p.epochs[0].step_algorithm else ""
    return (
        f"{arguments.backend}{algorithm}: {shape}, batch size {arguments.batch_size}, "
        f"{count(arguments.epochs, 'epoch')}"
    )


def _rate_of_passes(p: profile, n_products: int) -> str:
    """Return the arithmetic of a pass, and its rate: two products, of a multiplication and an addition."""
    passes = next(part for part in p.parts if part.name == PASS)
    per_second = 4e-9 * n_products * passes.calls / passes.seconds
    return f"\npasses for loss and gradient: {4e-9 * n_products:.3g} GFLOP each, {per_second:.1f} GFLOP/s"


def _settings(arguments: argparse.Namespace, X: NDArray[Any], n_threads: int) -> dict[str, Any]:
    """Return the settings of the training, for the files that are saved."""
    return {
        "data": "made-up" if arguments.data is None else str(arguments.data),
        "n_samples": X.shape[0],
        "n_features": X.shape[1],
        "dtype": str(X.dtype),
        "backend": arguments.backend,
        "solver": arguments.solver,
        "batch_size": arguments.batch_size,
        "epochs": arguments.epochs,
        "standardize": arguments.standardize,
        "n_threads": n_threads,
        "seed": _SEED,
    }


def _check(arguments: argparse.Namespace) -> None:
    _check_backend(arguments.backend)
    if arguments.solver != "sgd":
        for option in ("batch_size", "plot", "peers"):
            if getattr(arguments, option):
                name = option.replace("_", "-")
                raise CommandError(
                    f"argument --{name}: is of --solver sgd, which trains on minibatches"
                )
    if arguments.plot is not None:
        files.require_matplotlib()
    for option in ("plot", "trace", "flame_graph", "json"):
        files.check_target(f"--{option.replace('_', '-')}", getattr(arguments, option))
    files.check_picture("--plot", arguments.plot)
    if arguments.data is None:
        if arguments.labels is not None:
            raise CommandError("argument --labels: needs --data, to which they belong")
        return
    if arguments.dtype is not None:
        raise CommandError("argument --dtype: with --data it is that of the arrays")
    suffix = arguments.data.suffix.lower()
    if suffix not in (".npy", ".npz"):
        raise CommandError(
            f"argument --data: expected a .npz or .npy file, got {str(arguments.data)!r}"
        )
    if (suffix == ".npy") != (arguments.labels is not None):
        raise CommandError(
            "argument --labels: needed where --data is a .npy file"
            if suffix == ".npy"
            else "argument --labels: a .npz file has its labels in the array y"
        )


def _load(arguments: argparse.Namespace) -> tuple[NDArray[Any], NDArray[Any]]:
    if arguments.data is None:
        return _synthetic_data(arguments)
    if arguments.labels is not None:
        return _read_array("--data", arguments.data), _read_array("--labels", arguments.labels)
    try:
        # Opened here: NumPy leaves a file open if it is not an archive.
        with arguments.data.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            names = archive.files
            if "X" in names and "y" in names:
                return archive["X"], archive["y"]
    except Exception as error:  # zipfile has errors of its own for a damaged archive
        raise _unreadable("--data", arguments.data, error) from None
    raise CommandError(
        f"argument --data: expected the arrays X and y in {str(arguments.data)!r}, "
        f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}"
    )


def _read_array(option: str, path: Path) -> NDArray[Any]:
    """Return an array mapped from its file; never a pickle."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _unreadable(option, path, error) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise CommandError(f"argument {option}: expected a .npy file, got {str(path)!r}")
    return array


def _unreadable(option: str, path: Path, error: Exception) -> CommandError:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
    return CommandError(f"argument {option}: {str(path)!r}: {reason}")


def _synthetic_data(arguments: argparse.Namespace) -> tuple[NDArray[Any], NDArray[Any]]:
    dtype = arguments.dtype or "float32"
    wide = "float64" if dtype == "float64" else "float32"
    data = workload.load(arguments.shape, wide, _SEED, n_backends=1)
    X = data.X_train
    if dtype == "uint8":
        X = (X * 40 + 128).clip(0, 255)
    return X.astype(dtype, copy=False), data.y_train


def _save(arguments: argparse.Namespace, p: profile, record: dict[str, Any]) -> None:
    saved = []
    if arguments.plot is not None:
        files.save_picture("--plot", arguments.plot, p.plot(peers=record["peers"]))
        saved.append(f"Picture: {arguments.plot}")
    if arguments.trace is not None:
        files.write_text("--trace", arguments.trace, p.as_trace())
        saved.append(f"Trace: {arguments.trace}")
    if arguments.flame_graph is not None:
        files.write_text("--flame-graph", arguments.flame_graph, p.as_flame_graph())
        saved.append(f"Flame graph: {arguments.flame_graph}")
    if arguments.json != "-":
        print(*saved, sep="\n", end="\n" if saved else "")
    if arguments.json is not None:
        files.write_text("--json", arguments.json, json.dumps(record, indent=2) + "\n")
