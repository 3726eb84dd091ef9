"""Families of rows of logits with targets, made to be hard for a softmax.

Imports nothing of the package.
"""

import numpy as np

# Where both round correctly the larger of the two largest errors is a matter of luck.
LUCK = 1.1

NUMBERS_OF_CLASSES = (1, 2, 15, 16, 17, 1000, 50257)


def _normal(scale, offset=0.0):
    return lambda rng, shape, labels, dtype: offset + scale * rng.normal(size=shape)


def _equal(rng, shape, labels, dtype):
    return np.repeat(10 * rng.normal(size=(shape[0], 1)), shape[1], axis=1)


def _dominating(places_from_the_label):
    """One logit is 5 to 90 above the others."""

    def logits(rng, shape, labels, dtype):
        rows = np.arange(shape[0])
        logits = rng.normal(size=shape)
        logits[rows, (labels + places_from_the_label) % shape[1]] += rng.uniform(5, 90, shape[0])
        return logits

    return logits


def _subnormal(rng, shape, labels, dtype):
    return rng.integers(-1000, 1000, shape) * np.finfo(dtype).smallest_subnormal


def _rising(size):
    """The first logits say nothing about the largest."""

    def logits(rng, shape, labels, dtype):
        steps = np.linspace(0, size, shape[1]) if shape[1] > 1 else np.zeros(1)
        return steps - size / 3 + rng.normal(size=shape)

    return logits


def _masked(rng, shape, labels, dtype):
    """A third of the classes are -inf, but never the label."""
    logits = np.where(rng.random(shape) < 1 / 3, -np.inf, 3 * rng.normal(size=shape))
    logits[np.arange(shape[0]), labels] = rng.normal(size=shape[0])
    return logits


_MAKERS = {
    "equal": _equal,
    "the label dominates": _dominating(0),
    "another dominates": _dominating(1),
    "spread 1": _normal(1),
    "spread 10": _normal(10),
    "spread 1e4": _normal(1e4),
    "spread 1e-4": _normal(1e-4),
    "around 1e4": _normal(1, offset=1e4),
    "rising": _rising(400),
    "rising far": _rising(1e5),
    "subnormal": _subnormal,
    "a third masked": _masked,
}
NAMES = tuple(_MAKERS)


def rows(name, n_rows, n_classes, dtype, seed=0):
    """Logits (n_rows, n_classes) of the dtype, and labels; the same for the same arguments."""
    rng = np.random.default_rng([seed, NAMES.index(name), n_classes])
    labels = rng.integers(0, n_classes, n_rows)
    logits = _MAKERS[name](rng, (n_rows, n_classes), labels, dtype)
    return logits.astype(dtype), labels


def _one_hot(rng, labels, n_classes):
    return np.eye(n_classes)[labels], {}


def _probabilities(rng, labels, n_classes):
    return rng.dirichlet(np.ones(n_classes), len(labels)), {}


def _nearly_one_hot(rng, labels, n_classes):
    """The label has all but 1e-3 to 1e-30."""
    others = rng.dirichlet(np.ones(n_classes), len(labels)) * 10 ** rng.uniform(
        -30, -3, (len(labels), 1)
    )
    others[np.arange(len(labels)), labels] = 0
    return np.eye(n_classes)[labels] * (1 - others.sum(axis=1, keepdims=True)) + others, {}


def _smoothed(rng, labels, n_classes):
    return labels, {"label_smoothing": 0.125}


def _weighted(rng, labels, n_classes):
    return labels, {"class_weight": rng.integers(1, 17, n_classes) / 8}


def _weighted_and_smoothed(rng, labels, n_classes):
    """Half of the classes have no weight."""
    weights = rng.integers(1, 17, n_classes) / 8 * rng.integers(2, size=n_classes)
    return labels, {"class_weight": weights, "label_smoothing": 0.125}


_TARGETS = {
    "one-hot rows": _one_hot,
    "probabilities": _probabilities,
    "nearly one-hot": _nearly_one_hot,
    "smoothed": _smoothed,
    "weighted": _weighted,
    "weighted and smoothed": _weighted_and_smoothed,
}


def _mask(rng, labels, n_classes):
    """About half of the classes take part in a row, its label among them."""
    mask = rng.random((len(labels), n_classes)) < 0.5
    mask[np.arange(len(labels)), labels] = True
    return {"mask": mask}


# Options that act on logits, as the losses take them, with labels.
_ON_LOGITS = {
    "mask": _mask,
    "temperature": lambda rng, labels, n_classes: {"temperature": 0.7},
    "softcap": lambda rng, labels, n_classes: {"softcap": 30.0},
    "z_loss": lambda rng, labels, n_classes: {"z_loss": 1e-3},
    "return_lse": lambda rng, labels, n_classes: {"return_lse": True},
    "all of them": lambda rng, labels, n_classes: (
        _mask(rng, labels, n_classes) | {"temperature": 0.7, "softcap": 30.0, "z_loss": 1e-3}
    ),
}
ON_LOGITS = tuple(_ON_LOGITS)
# Every family with labels, and those where p rounds to 1 with every other kind of target.
PROBLEMS = tuple((name, "labels") for name in NAMES) + tuple(
    (name, kind)
    for name in ("the label dominates", "another dominates", "spread 10")
    for kind in _TARGETS
)
# An infinite logit is capped to a number by tanh, elsewhere.
PROBLEMS_ON_LOGITS = tuple(
    (name, kind)
    for name in NAMES
    for kind in ON_LOGITS
    if name != "a third masked" or kind not in ("softcap", "all of them")
)


def problem(name, kind, n_rows, n_classes, dtype, seed=0):
    """Logits as `rows` has them, targets of a kind, and the options of the loss."""
    logits, labels = rows(name, n_rows, n_classes, dtype, seed)
    if kind == "labels":
        return logits, labels, {}
    rng = np.random.default_rng([seed, NAMES.index(name), n_classes, n_rows])
    if kind in _ON_LOGITS:
        return logits, labels, _ON_LOGITS[kind](rng, labels, n_classes)
    targets, options = _TARGETS[kind](rng, labels, n_classes)
    return logits, targets.astype(dtype) if targets.ndim == 2 else targets, options
