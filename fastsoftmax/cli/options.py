"""The values of options: from what was typed to what was meant, or why it cannot be."""

from argparse import ArgumentTypeError
from math import isfinite

from ..backends import NAMES


def positive_integer(text: str) -> int:
    """Return a whole number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def seed(text: str) -> int:
    """Return a whole number of at least 0."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return number


def positive_number(text: str) -> float:
    """Return a finite number greater than 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not (isfinite(number) and number > 0):
        raise ArgumentTypeError(f"expected a number greater than 0, got {text!r}")
    return number


def shape(text: str) -> tuple[int, int, int]:
    """Return samples, features and classes of "60000x784x10"."""
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        raise ArgumentTypeError(
            f"expected samples x features x classes, such as 60000x784x10, got {text!r}"
        )
    samples, features, classes = (int(part) for part in parts)
    if samples < 1 or features < 1 or classes < 2:
        raise ArgumentTypeError(
            f"expected at least 1 sample, 1 feature and 2 classes, got {text!r}"
        )
    return samples, features, classes


def backends(text: str) -> tuple[str, ...]:
    """Return the names in a list such as "vectorized,compiled"."""
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in NAMES:
            raise ArgumentTypeError(
                f"expected names out of {', '.join(NAMES)}, separated by commas, got {name!r}"
            )
    if len(set(names)) < len(names):
        raise ArgumentTypeError(f"expected each name once, got {text!r}")
    return names
