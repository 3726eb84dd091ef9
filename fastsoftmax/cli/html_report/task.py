"""The formulas of the task, and the amount of work."""

from .facts import Facts
from .markup import Markup, element, filled, joined, paragraphs, section

_BEFORE = """
A linear classifier gives a sample <var>x</var> of <var>D</var> = {d} numbers a score for each of
<var>C</var> = {c} classes. Softmax turns the scores into probabilities, and the loss is large if the
correct class <var>y</var> has a small one. Training changes the weights <var>W</var>, <var>C</var> &times;
<var>D</var> of them, and the intercept <var>b</var> so that the loss falls.
"""
_AFTER = """
That is one <em>step</em> of stochastic gradient descent (SGD) over a minibatch of <var>B</var> =
{batch_size} samples, with the learning rate <var>η</var> = {rate} and a small penalty <var>R</var> on
large weights. An <em>epoch</em> goes once through all <var>N</var> = {n} samples in a random order:
{steps}.

Nearly all of the arithmetic is in two places, the scores and the gradient of the weights. Each takes
<var>C</var>·<var>D</var> multiply-adds per sample. An epoch therefore has
2·<var>N</var>·<var>D</var>·<var>C</var> = 2·{n}·{d}·{c} = {multiply_adds} of them. Whatever the
program, this work is the same; what differs is everything around it.
"""
# Each quantity and its formula.
_FORMULAS = {
    "scores": "<var>z</var> = <var>W</var> <var>x</var> + <var>b</var>",
    "probabilities": "<var>p<sub>k</sub></var> = exp(<var>z<sub>k</sub></var>) / {sum}",
    "loss": (
        "<var>L</var> = &minus;log <var>p<sub>y</sub></var> = log {sum} &minus; <var>z<sub>y</sub></var>"
    ),
    "gradient of the scores": (
        "&part;<var>L</var>/&part;<var>z</var> = <var>p</var> &minus; <var>e<sub>y</sub></var>"
    ),
    "gradient of the weights": (
        "&part;<var>L</var>/&part;<var>W</var> = (<var>p</var> &minus; <var>e<sub>y</sub></var>) "
        "<var>x</var><sup>&#8868;</sup>"
    ),
    "update": (
        "<var>W</var> &larr; <var>W</var> &minus; <var>&eta;</var> [ mean of "
        "&part;<var>L</var>/&part;<var>W</var> over the minibatch + "
        "&nabla;<var>R</var>(<var>W</var>) ]"
    ),
}
_SUM = Markup("&sum;<sub><var>j</var></sub> exp(<var>z<sub>j</sub></var>)")


def task_section(facts: Facts) -> Markup:
    """Return the section."""
    formulas = joined(
        element(
            "li",
            element("span", name),
            element("span", filled(formula, sum=_SUM), class_="formula"),
        )
        for name, formula in _FORMULAS.items()
    )
    steps = f"{facts.steps} steps" if facts.steps > 1 else "1 step"
    return section(
        "task",
        "The task",
        paragraphs(_BEFORE, d=facts.d, c=facts.c),
        element("ul", formulas, class_="formulas"),
        filled("<p><var>e<sub>y</sub></var> is 1 for the correct class and 0 elsewhere.</p>"),
        paragraphs(
            _AFTER,
            batch_size=facts.batch_size,
            rate=f"{facts.settings['learning_rate']:g}",
            n=facts.n,
            d=facts.d,
            c=facts.c,
            steps=steps,
            multiply_adds=f"{facts.multiply_adds:,}",
        ),
    )
