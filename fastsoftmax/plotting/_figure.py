"""Common parts of all pictures: the figure, colours by name, shortened names."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING

from .._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The palette of Okabe and Ito, which colour-blind readers can tell apart; one colour per curve.
_COLOURS = ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
WIDTH = 11.0


def new_figure(width: float, height: float) -> Figure:
    """Return a figure of this size in inches, with an automatic layout and no global state."""
    matplotlib = import_optional("matplotlib.figure", "plots need")
    engines = import_optional("matplotlib.layout_engine", "plots need")
    # Inches between the parts and at the edges; matplotlib's default is too narrow.
    layout = engines.ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure: Figure = matplotlib.Figure(figsize=(width, height), layout=layout)
    return figure


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Return a colour for each name, in the order of the names."""
    return dict(zip(dict.fromkeys(names), cycle(_COLOURS), strict=False))


def shortened(label: object, max_length: int) -> str:
    """Return a label on one line, its middle cut to `max_length` characters: names differ at the ends."""
    text = " ".join(str(label).split())
    if len(text) <= max_length:
        return text
    head = max_length // 2
    return f"{text[:head].rstrip()}…{text[head + 1 - max_length :].lstrip()}"
