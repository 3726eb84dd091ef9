"""`python -m benchmarks.accuracy`: how far off losses and gradients are, next to SciPy's and PyTorch's.

Run from the top of the repository: rows and exact results are those of the tests.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.text import Text

import fastsoftmax
from fastsoftmax.loss import functional
from fastsoftmax.loss.options import LossOptions
from tests.support import hard_logits, oracle

from .peers.tables import new_console, new_table

_ROWS_OF = {1000: 20, 50257: 2}  # of a family; with other numbers of classes
_MAX_ROWS = 200
MAX_CLASSES_WITH_MATRICES = 1000  # one-hot rows are made of an identity matrix

# From logits, targets (labels or probabilities) and the options of the loss, to losses and gradient
Computation = Callable[..., tuple[np.ndarray, np.ndarray]]


def ours(
    logits: np.ndarray, targets: np.ndarray, *, return_lse: bool = False, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    """Return losses and gradients, or with `return_lse` the log-sum-exps and theirs."""
    if not return_lse:
        return fastsoftmax.softmax_cross_entropy(logits, targets, reduction="none", **options)
    n = len(logits)
    of_lse = {"upstream": np.zeros(n), "lse_upstream": np.ones(n)}
    _, gradient, lse = functional.loss_and_gradient(
        *(logits, targets, None),
        LossOptions(reduction="none", return_lse=True, **of_lse, **options),
        *("auto", None),
    )
    return lse, gradient


def scipy(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    **on_logits: Any,
) -> tuple[np.ndarray, np.ndarray]:
    from scipy import special

    if on_logits:
        return scipy_with_options(logits, targets, **on_logits)
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


def scipy_with_options(
    logits: np.ndarray,
    labels: np.ndarray,
    mask: np.ndarray | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    from scipy import special

    q, slopes = logits / temperature, 1 / temperature
    if softcap is not None:
        tanh = np.tanh(q / softcap)
        q, slopes = softcap * tanh, slopes * (1 - tanh**2)
    if mask is not None:
        q = np.where(mask, q, -np.inf).astype(logits.dtype)
    p, lse, at = special.softmax(q, axis=1), special.logsumexp(q, axis=1), np.arange(len(labels))
    if return_lse:
        return lse, p * slopes
    losses = z_loss * lse**2 - special.log_softmax(q, axis=1)[at, labels]
    gradient = p * (1 + 2 * z_loss * lse[:, np.newaxis])
    gradient[at, labels] -= 1
    return losses, gradient * slopes


def torch(
    logits: np.ndarray,
    targets: np.ndarray,
    class_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    mask: np.ndarray | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    return_lse: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    import torch

    leaf = torch.tensor(logits, requires_grad=True)
    z = leaf if temperature == 1 else leaf / temperature
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if mask is not None:
        z = z.masked_fill(~torch.tensor(mask), -torch.inf)
    weight = None if class_weight is None else torch.tensor(class_weight.astype(logits.dtype))
    losses = torch.nn.functional.cross_entropy(
        z, torch.tensor(targets), weight, reduction="none", label_smoothing=label_smoothing
    )
    if z_loss:
        losses = losses + z_loss * torch.logsumexp(z, 1) ** 2
    if return_lse:
        losses = torch.logsumexp(z, 1)
    losses.sum().backward()
    return losses.detach().numpy(), leaf.grad.numpy()


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
    """Return the largest error of ours over its derived bound, for loss and gradient.

    For options on logits none is derived.
    """
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


def of_rounded_logits(logits: np.ndarray, labels: np.ndarray, **options: object) -> Errors:
    """Return what the roundings of options on logits may be off by, whoever does them.

    A logit that is rounded by a unit moves a loss by up to two units, and a gradient by half of one, as
    p * (1 - p) is at most 1/4. In float64 tanh and its slope add 1 and 4 units in the last place, each two
    of eps / 2; the square of a log-sum-exp, and what multiplies it, 4. A probability and its quotient by
    the temperature are rounded by a unit each.
    """
    losses, gradient = ours(logits.copy(), labels, **options)
    is_double = logits.dtype == np.float64
    divisor, softcap = options.get("temperature", 1.0), options.get("softcap")
    largest = np.abs(np.where(np.isinf(logits), 0, logits)).max() / divisor
    units = 1.0 if divisor != 1 else 0.0
    if softcap is not None:
        largest, units = min(largest, softcap), units + (3.0 if is_double else 1.0)
    of_loss = 4 * np.abs(losses).max() if is_double and "z_loss" in options else 0.0
    of_slope = 8 * np.abs(gradient).max() if is_double and softcap is not None else 0.0
    # Far beyond the softcap a slope is 1e-304.
    return Errors(
        float(2 * units * largest + of_loss),
        float((units * largest / 2 + 2) / divisor + of_slope + 1e-280),
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
            for name, kind in hard_logits.PROBLEMS + hard_logits.PROBLEMS_ON_LOGITS:
                if kind != "labels" and n_classes > MAX_CLASSES_WITH_MATRICES:
                    continue
                logits, targets, options = hard_logits.problem(
                    name, kind, n_rows, n_classes, dtype, arguments.seed
                )
                found = compare(list(contenders.values()), logits, targets, **options)
                bounded = kind not in hard_logits.ON_LOGITS
                share = share_of_bound(logits, targets, **options) if bounded else 0.0
                exceeded += not share <= 1
                cells = []
                for of_all in zip(*found, strict=True):
                    cells += [_cell(list(of_all), i) for i in range(len(of_all))]
                    behind += of_all[0] > min(of_all[1:], default=np.inf)
                    n_cells += 1
                row = name if kind == "labels" else f"{name}, {kind}"
                table.add_row(row, *cells, f"{share:.2g}" if bounded else "-")
            console.print(table)
            console.print()
    console.print(
        "The largest error of a loss (return_lse: of a log-sum-exp), and of an entry of its gradient,\n"
        "in units of eps / 2, against 50 digits; and the largest of ours over its derived bound, where\n"
        "there is one (tests/support/oracle.py).\n"
        f"Above the bound: {exceeded}. Above a peer's error: {behind} of {n_cells}."
    )
    return int(exceeded > 0)


if __name__ == "__main__":
    sys.exit(main())
