"""Why fusion is faster: the arrays that separate operations write and read, and their cost in this run."""

from ...backends.recorder import NAMES
from ...profiling.profiler import BETWEEN, OUTSIDE
from ..numbers import duration, size, three_digits
from .facts import Facts
from .markup import Markup, element, filled, number, paragraphs, section, table

_TEXT = """
A CPU core adds and multiplies much faster than numbers reach it. A number in a register is available
immediately, one in the nearest cache after a few clock cycles, one in memory after hundreds. A program
that does one operation after another over whole arrays stores every intermediate result and loads it
again; a fused one does everything with a number while it is at hand. The arithmetic is the same.

The table counts what <strong>vectorized</strong> writes in an epoch of {n} samples, that is {steps}, each
array of {dtype} with {itemsize} bytes per number. The arrays are made once and written again in every step.
What is written is also read by the next operation, so that about twice as much passes through the caches
or, if it does not fit them, through memory.
"""
_AFTER = """
That is {total} in an epoch, {ratio} times the size of the data themselves, {data}. The fused step reads
the data and the weights, and writes new weights. Apart from that it saves calls: a step in NumPy consists
of about fifteen, and each takes about a microsecond in Python however small its arrays are. This matters
most for small minibatches: here one has {scores} scores.
"""
_MEASURED = "The cost in this run: the phases of an epoch that both backends have"
_NOT_MEASURED = "To measure this cost, both vectorized and compiled have to run."
_ELSEWHERE = """
Fusion is not all of the difference: the compiled backend also has kernels made for these shapes, its own
exponential over whole vectors, and its own threads. The profile cannot separate these; it does show where
the time has gone.
"""
_COMPARED = (*NAMES[:4], BETWEEN, OUTSIDE)


def fusion_section(facts: Facts) -> Markup:
    """Return the section."""
    arrays = _arrays(facts)
    total = sum(numbers for *_, numbers, _ in arrays) * facts.itemsize
    data = facts.n * facts.d * facts.itemsize
    rows = [
        [name, shape, number(n * facts.itemsize, size(n * facts.itemsize)), fused]
        for name, shape, n, fused in arrays
    ]
    return section(
        "fusion",
        "Why fusion is faster",
        paragraphs(
            _TEXT,
            n=facts.n,
            steps=f"{facts.steps} steps" if facts.steps > 1 else "1 step",
            dtype=facts.settings["dtype"],
            itemsize=facts.itemsize,
        ),
        element(
            "div",
            table(
                "fusion-table",
                "Arrays that separate operations write, and what becomes of them when fused",
                ("array", "size in a step", "written in an epoch", "fused (compiled)"),
                rows,
            ),
            class_="text",
        ),
        paragraphs(
            _AFTER,
            total=size(total),
            ratio=three_digits(total / data),
            data=size(data),
            scores=min(facts.batch_size, facts.n) * facts.c,
        ),
        _measured(facts),
        paragraphs(_ELSEWHERE),
    )


def _arrays(facts: Facts) -> list[tuple[str, Markup, int, str]]:
    """Return for each array its name, size in a step, numbers in an epoch, and the fused alternative."""
    n, d, c = facts.n, facts.d, facts.c
    by_d, by_c, weights = (
        filled("<var>B</var> &times; <var>D</var>"),
        filled("5 &times; <var>B</var> &times; <var>C</var>"),
        filled("3 &times; <var>C</var> &times; <var>D</var>"),
    )
    return [
        ("rows of the minibatch", by_d, n * d, _rows_of_compiled(facts)),
        (
            "products, scores, the same minus their maximum, exponentials, gradient of the scores",
            by_c,
            5 * n * c,
            "a few rows at a time, in registers and the nearest cache",
        ),
        (
            "the step, the weights after the penalty, new weights",
            weights,
            3 * facts.steps * d * c,
            "gradient in registers or, for short rows, in the nearest cache; only the weights are written",
        ),
    ]


def _rows_of_compiled(facts: Facts) -> str:
    gathering = facts.phases("compiled").get(NAMES[0]) if "compiled" in facts.profiles else None
    if gathering is not None and gathering["bandwidth"] is not None:
        return "packed once, in the order in which the kernels read them"
    return "read in place"


def _measured(facts: Facts) -> Markup:
    """Return the phases of both backends next to each other, if both ran."""
    if not {"vectorized", "compiled"} <= facts.profiles.keys():
        return element("p", _NOT_MEASURED)
    rows: list[list[Markup | str]] = []
    for phase in _COMPARED:
        separate, fused = (facts.phase_seconds(b, phase) for b in ("vectorized", "compiled"))
        if separate is not None and fused is not None:
            ratio = separate / fused
            rows.append(
                [
                    phase,
                    number(separate, duration(separate)),
                    number(fused, duration(fused)),
                    number(ratio, f"{three_digits(ratio)}×"),
                ]
            )
    return table("fusion-times", _MEASURED, ("phase", "vectorized", "compiled", "ratio"), rows)
