"""What all pictures have in common: the figure, colours by name, and names that are too long."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind people can tell apart as well; one colour a curve.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
WIDTH = 11.0


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches, which lays out what is drawn into it and is known to nobody else."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError(
            f'plots need matplotlib: pip install "fastsoftmax[bench]" ({error})'
        ) from error
    # Inches between the parts and at the edges; matplotlib's default cuts it fine.
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(width, height), layout=layout)


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the order of the names."""
    return dict(zip(dict.fromkeys(names), cycle(_COLOURS), strict=False))


def shortened(label: object, most: int) -> str:
    """A label on one line, of `most` characters; the middle goes, as names differ at their ends."""
    text = " ".join(str(label).split())
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head].rstrip()}…{text[head + 1 - most :].lstrip()}"
