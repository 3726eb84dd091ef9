"""Parsers for the values of options; their errors say what is accepted."""

import csv
from argparse import ArgumentTypeError
from collections.abc import Callable
from math import isfinite, nan

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


def loss_shape(text: str) -> tuple[int, ...]:
    """Return rows and classes of "4096x50257", or rows, features and classes of "256x3073x10"."""
    parts = text.lower().split("x")
    if len(parts) not in (2, 3) or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise ArgumentTypeError(
            f"expected rows x classes, such as 4096x50257, or rows x features x classes, got {text!r}"
        )
    sizes = tuple(int(part) for part in parts)
    if min(sizes) < 1 or sizes[-1] < 2:
        raise ArgumentTypeError(f"expected at least 1 row, 1 feature and 2 classes, got {text!r}")
    return sizes


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


def non_negative_number(text: str) -> float:
    """Return a finite number of at least 0."""
    number = _number(text)
    if not (isfinite(number) and number >= 0):
        raise ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return number


def share(text: str) -> float:
    """Return a number between 0 and 1."""
    number = _number(text)
    if not 0 < number < 1:
        raise ArgumentTypeError(f"expected a number between 0 and 1, got {text!r}")
    return number


def or_word(word: str, read: Callable[[str], float]) -> Callable[[str], float | str]:
    """Return a parser for a word or what `read` accepts."""

    def parse(text: str) -> float | str:
        if text == word:
            return text
        try:
            return read(text)
        except ArgumentTypeError as error:
            expected, got = str(error).rsplit(", got ", 1)
            raise ArgumentTypeError(f"{expected}, or {word}, got {got}") from None

    return parse


def image_shape(text: str) -> tuple[int, ...]:
    """Return height and width, and 3 for colours, of "32x32x3"."""
    parts = text.lower().split("x")
    are_sizes = [part.isdecimal() and len(part) < 10 and int(part) > 0 for part in parts]
    if len(parts) not in (2, 3) or not all(are_sizes):
        raise ArgumentTypeError(
            f"expected height x width, or height x width x 3, such as 28x28, got {text!r}"
        )
    return tuple(int(part) for part in parts)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return nan


def columns(text: str) -> list[str]:
    """Return the names or indices in a list such as "id,date"; quotes surround a name with a comma."""
    return _names(text, "columns")


def class_names(text: str) -> list[str]:
    """Return the names in a list such as "cat,dog"; quotes surround a name with a comma."""
    names = _names(text, "classes")
    if len(set(names)) < len(names):
        raise ArgumentTypeError(f"expected each name once, got {text!r}")
    return names


def _names(text: str, what: str) -> list[str]:
    try:
        names = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error:
        names = []
    if not names or not all(names):
        raise ArgumentTypeError(f"expected names of {what}, separated by commas, got {text!r}")
    return names
