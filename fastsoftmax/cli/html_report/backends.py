"""A description of each backend, from the simplest to the fastest, with the code of its inner part."""

import inspect
from importlib import import_module
from operator import attrgetter

from ...backends import why_unavailable
from ..results import ORDER
from .facts import Facts
from .markup import Markup, element, filled, joined, scroll_box, section

_WORDS = {
    "naive": """
A loop in Python, one sample after another, written like the formulas. The scores of a sample are one dot
product with the weights and its gradient is one outer product, so the interpreter spends its time on calls
for one sample, each of them with an overhead around a few hundred multiplications, and on the softmax: for
every single number it looks up the operands, finds out their types, creates an object for the result and
counts references. This is the version to read, and the one that the others are checked against.
""",
    "numba": """
Loops over samples, classes and features, compiled by Numba to machine code for the types that are in the
arrays. The interpreter is gone: one call takes many steps. Sums may be reordered, so that the compiler
makes vector instructions of the loops; a row of <var>X</var> is not copied, and read once for several sums.
Fixed chunks of a minibatch are spread over threads if there is enough work. The exponentials are computed
one by one.
""",
    "vectorized": """
No loops over samples: each formula is a call of NumPy for a whole minibatch, and scores and gradient are
matrix products, <var>X</var><var>W</var> and <var>X</var><sup>&#8868;</sup><var>G</var>, which a BLAS
library computes with the CPU's vector instructions. Results go into arrays that are made once, few classes
are stored class by class, and the losses of many steps are summed together: this is about as fast as NumPy
gets. Every call still writes its result to an array and the next one reads it; and every call has an
overhead in Python before it begins.
""",
    "compiled": """
One call of C code for a whole epoch. Vector instructions process 16 numbers in float32, or 8 in float64,
at a time; the operations of a step are <em>fused</em>, so that each result is used while it is in a
register or in the nearest cache; a pool of threads divides the work of a step if there is enough. Python
resumes when the epoch is over.
""",
}
# The functions to show, where a student would begin to read; of the compiled backend, whose code is many
# files, it is an outline.
_CODE = {
    "naive": ("naive", ("linear_cross_entropy",)),
    "numba": ("numba_kernels", ("_scores_of_rows", "chunk")),
    "vectorized": ("vectorized_epoch", ("_Epoch.run", "_Block.label_gradient")),
}
_OUTLINE = """\
for each step:                                  // no Python until the epoch is over
    for a few rows of the minibatch:            // where they are, by their index
        z = W x + b                             // vectors of 8 or 16 numbers, sums in registers
        p = exp(z - max(z)), total = sum(p)     // an exponential of whole vectors
        loss += log(total) + max(z) - z[y]
        g = p / total - onehot(y)               // still in the nearest cache
        G += g x^T
    W = W - rate * (G + dR(W))                  // penalty, momentum and step in one pass

In the repository: fastsoftmax/backends/compiled/step_*.pxi, csrc/kernels/dot_tiles.h, softmax.h and
sgd_update.h.
"""
_MISSING = "<strong>Not in this run</strong> ({status}): {reason}"


def backends_section(facts: Facts) -> Markup:
    """Return the section; for a backend that did not run it states the reason."""
    absent = {entry["backend"]: entry for entry in facts.record["left_out"]}
    entries = []
    for name in ORDER:
        if name in facts.results or name in absent:
            words = filled(_WORDS[name].strip())
            entries += [element("dt", name), element("dd", words, _code_of(name))]
        if name in absent:
            why = filled(_MISSING, status=absent[name]["status"], reason=absent[name]["reason"])
            entries.append(element("dd", why))
    return section(
        "backends", "What each backend does", element("dl", joined(entries), id="backends-list")
    )


def _code_of(name: str) -> Markup:
    """Return the code of a backend behind a title that opens it; nothing if its source is not here."""
    code = _OUTLINE
    if name in _CODE:
        module_name, functions = _CODE[name]
        if why_unavailable(name) is not None:
            return Markup()
        module = import_module(f"fastsoftmax.backends.{module_name}")
        found = (attrgetter(function)(module) for function in functions)
        try:
            code = "\n\n".join(
                inspect.cleandoc(inspect.getsource(getattr(function, "py_func", function)))
                for function in found
            )
        except OSError:
            return Markup()
    title = element(
        "summary", f"Its code{'' if name in _CODE else ', in outline'}", id=f"code-{name}"
    )
    return element("details", title, scroll_box(f"code-{name}", element("pre", code)))
