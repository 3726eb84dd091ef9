"""A description of each backend, from the simplest to the fastest."""

from ..results import ORDER
from .facts import Facts
from .markup import Markup, element, filled, joined, section

_WORDS = {
    "naive": """
Loops in Python, one sample after another, written like the formulas. For every single multiplication the
interpreter looks up the operands, finds out their types, creates an object for the result and counts
references: dozens of instructions around one that computes. This is the version to read, and the one that
the others are checked against.
""",
    "numba": """
The same loops, compiled by Numba to machine code for the types that are in the arrays. The interpreter is
gone from the loops. Scores are still summed in the order in which the code is written, one number after
another, which a compiler may not change; between scores, loss and gradient whole arrays are written and
read again.
""",
    "vectorized": """
No loops over samples: each formula is a call of NumPy for a whole minibatch, and scores and gradient are
matrix products, <var>X</var><var>W</var> and <var>X</var><sup>&#8868;</sup><var>G</var>, which a BLAS
library computes with the CPU's vector instructions. Every call writes its result to an array and the next
one reads it; and every call has an overhead in Python before it begins.
""",
    "compiled": """
One call of C code for a whole epoch. Vector instructions process 16 numbers in float32, or 8 in float64,
at a time; the operations of a step are <em>fused</em>, so that each result is used while it is in a
register or in the nearest cache; a pool of threads divides the work of a step if there is enough. Python
resumes when the epoch is over.
""",
}
_MISSING = "<strong>Not in this run</strong> ({status}): {reason}"


def backends_section(facts: Facts) -> Markup:
    """Return the section; for a backend that did not run it states the reason."""
    absent = {entry["backend"]: entry for entry in facts.record["left_out"]}
    entries = []
    for name in ORDER:
        if name in facts.results or name in absent:
            entries += [element("dt", name), element("dd", filled(_WORDS[name].strip()))]
        if name in absent:
            why = filled(_MISSING, status=absent[name]["status"], reason=absent[name]["reason"])
            entries.append(element("dd", why))
    return section(
        "backends", "What each backend does", element("dl", joined(entries), id="backends-list")
    )
