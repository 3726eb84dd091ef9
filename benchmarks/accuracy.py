"""`python -m benchmarks.accuracy`: how far off losses and gradients are, next to SciPy's and PyTorch's.

Run from the top of the repository: rows and exact results are those of the tests.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rich.text import Text

import fastsoftmax
from tests.support import hard_logits, oracle

from .peers.tables import new_console, new_table

_ROWS_OF = {1000: 20, 50257: 2}  # of a family; with other numbers of classes
_MAX_ROWS = 200
MAX_CLASSES_WITH_MATRICES = 1000  # one-hot rows are made of an identity matrix

# From logits, targets (labels or probabilities) and the options of the loss, to losses and gradient
Computation = Callable[..., tuple[np.ndarray, np.ndarray]]


def ours(
    logits: np.ndarray, targets: np.ndarray, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    return fastsoftmax.softmax_cross_entropy(logits, targets, reduction="none", **options)


def scipy(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    from scipy import special

    gradient, log_p = special.softmax(logits, axis=1), special.log_softmax(logits, axis=1)
    if targets.ndim == 1 and class_weight is None and not label_smoothing:
        at = np.arange(len(targets)), targets
        gradient[at] -= 1
        return -log_p[at], gradient
    t = np.eye(logits.shape[1])[targets] if targets.ndim == 1 else targets
    t = (1 - label_smoothing) * t + label_smoothing / logits.shape[1]
    t = (t * (1 if class_weight is None else class_weight)).astype(logits.dtype)
    losses = -np.sum(t * np.where(t > 0, log_p, 0), axis=1)
    return losses, gradient * t.sum(axis=1, keepdims=True) - t


def torch(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    import torch

    z = torch.tensor(logits, requires_grad=True)
    weight = None if class_weight is None else torch.tensor(class_weight.astype(logits.dtype))
    losses = torch.nn.functional.cross_entropy(
        z, torch.tensor(targets), weight, reduction="none", label_smoothing=label_smoothing
    )
    losses.sum().backward()
    return losses.detach().numpy(), z.grad.numpy()


PEERS = {"scipy": scipy, "torch": torch}


class Errors(NamedTuple):
    """The largest error of a family, in units of eps / 2 of the dtype."""

    loss: float
    gradient: float


def errors_of(
    computation: Computation,
    logits: np.ndarray,
    targets: np.ndarray,
    exact: list,
    **options: object,
) -> Errors:
    """Compare with the exact losses and gradients."""
    losses, gradients = computation(logits.copy(), targets, **options)
    of_loss = of_gradient = oracle.exact.mpf(0)
    for loss, gradient, (exact_loss, exact_gradient) in zip(
        losses.tolist(), gradients.tolist(), exact, strict=True
    ):
        of_loss = max(of_loss, abs(loss - exact_loss))
        for entry, exact_entry in zip(gradient, exact_gradient, strict=True):
            of_gradient = max(of_gradient, abs(entry - exact_entry))
    unit = np.finfo(logits.dtype).eps / 2
    return Errors(float(of_loss / unit), float(of_gradient / unit))


def compare(
    computations: Sequence[Computation],
    logits: np.ndarray,
    targets: np.ndarray,
    **options: object,
) -> list[Errors]:
    """Return the errors of each."""
    exact = oracle.losses_and_gradients(logits, targets, **options)
    return [errors_of(one, logits, targets, exact, **options) for one in computations]


def share_of_bound(logits: np.ndarray, targets: np.ndarray, **options: object) -> float:
    """Return the largest error of ours over its derived bound, for loss and gradient."""
    losses, gradient = ours(logits.copy(), targets, **options)
    if options or targets.ndim == 2:
        smoothing = options.get("label_smoothing", 0.0)
        expected = oracle.weighted(logits, targets, None, options.get("class_weight"), smoothing)
        return max(expected.losses.share(losses), expected.dlogits.share(gradient))
    expected = oracle.rows(logits, targets)
    gradient_of_mean = gradient.astype(np.float64) / len(targets)
    return max(expected.losses.share(losses), expected.dlogits.share(gradient_of_mean))


def last_places(logits: np.ndarray, targets: np.ndarray, **options: object) -> Errors:
    """Two units in the last place of the largest loss and gradient in float64; 0 in float32.

    Errors below are a matter of luck in float64, whose targets are rounded when weights multiply them.
    """
    if logits.dtype == np.float32:
        return Errors(0.0, 0.0)
    losses, gradient = ours(logits.copy(), targets, **options)
    units = np.finfo(np.float64).eps / 4
    return Errors(
        float(np.spacing(losses.max()) / units), float(np.spacing(np.abs(gradient).max()) / units)
    )


def _cell(errors: list[float], i: int) -> Text:
    """One error, red where a peer's is smaller."""
    behind = i == 0 and errors[0] > min(errors[1:], default=np.inf)
    return Text(f"{errors[i]:.3g}", style="bold red" if behind else "")


def main() -> int:
    """Print the table; 1 where an error is above its bound."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument(
        "--classes",
        nargs="+",
        type=int,
        default=hard_logits.NUMBERS_OF_CLASSES,
        metavar="N",
        help="numbers of classes (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another number: other rows")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=tuple(PEERS))
    arguments = parser.parse_args()
    console = new_console(None)
    contenders: dict[str, Computation] = {"ours": ours}
    contenders |= {name: PEERS[name] for name in arguments.peers}
    exceeded = behind = n_cells = 0
    for dtype in (np.float32, np.float64):
        for n_classes in arguments.classes:
            columns = [f"{what}\n{name}" for what in Errors._fields for name in contenders]
            table = new_table(f"{dtype.__name__}\n{n_classes} classes", *columns, "of its\nbound")
            n_rows = _ROWS_OF.get(n_classes, _MAX_ROWS)
            for name, kind in hard_logits.PROBLEMS:
                if kind != "labels" and n_classes > MAX_CLASSES_WITH_MATRICES:
                    continue
                logits, targets, options = hard_logits.problem(
                    name, kind, n_rows, n_classes, dtype, arguments.seed
                )
                found = compare(list(contenders.values()), logits, targets, **options)
                share = share_of_bound(logits, targets, **options)
                exceeded += not share <= 1
                cells = []
                for of_all in zip(*found, strict=True):
                    cells += [_cell(list(of_all), i) for i in range(len(of_all))]
                    behind += of_all[0] > min(of_all[1:], default=np.inf)
                    n_cells += 1
                row = name if kind == "labels" else f"{name}, {kind}"
                table.add_row(row, *cells, f"{share:.2g}")
            console.print(table)
            console.print()
    console.print(
        "The largest error of a loss, and of an entry of its gradient, in units of eps / 2, against 50\n"
        "digits; and the largest of ours over its derived bound (tests/support/oracle.py).\n"
        f"Above the bound: {exceeded}. Above a peer's error: {behind} of {n_cells}."
    )
    return int(exceeded > 0)


if __name__ == "__main__":
    sys.exit(main())
