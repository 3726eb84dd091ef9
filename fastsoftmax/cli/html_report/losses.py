"""Evidence that all backends compute the same: their losses, epoch by epoch."""

from .axes import Axes, Axis, picture
from .bars import legend
from .facts import Facts
from .markup import Markup, element, number, paragraphs, section, table

_TITLES = (
    "backend",
    "loss of the first epoch",
    "loss of the last epoch",
    "largest relative difference",
    "the same",
    "accuracy on test data",
)
_TEXT = """
A comparison of speeds is meaningful only if the programs compute the same. All backends begin with the
same weights and take the samples in the same order, drawn from the seed {seed}; so they should follow the
same path.

They do not agree to the last digit: a sum of rounded numbers depends on its order, (<var>a</var> +
<var>b</var>) + <var>c</var> ≠ <var>a</var> + (<var>b</var> + <var>c</var>), and threads and vector
instructions add in a different order from a loop. Differences from {reference} up to {tolerance} of the
loss are rounding in {dtype}.
"""
# Later lines are thinner and dashed, so that all lines stay visible where they coincide.
_LOOKS = {
    "naive": {"stroke_width": "10"},
    "numba": {"stroke_width": "6.5"},
    "vectorized": {"stroke_width": "3.5"},
    "compiled": {"stroke_width": "1.5", "stroke_dasharray": "4 5"},
}


def losses_section(facts: Facts) -> Markup:
    """Return the section."""
    complete = [name for name, result in facts.results.items() if result["loss_curve"]]
    title = "The same losses"
    if not complete:
        return section("losses", title, paragraphs("No backend has trained on all samples."))
    return section(
        "losses",
        title,
        paragraphs(
            _TEXT,
            seed=facts.settings["seed"],
            reference=facts.record["reference"],
            tolerance=f"{facts.record['tolerance']:.0e}",
            dtype=facts.settings["dtype"],
        ),
        _curves(facts, complete),
        table("losses-table", "Losses and accuracy", _TITLES, [_row(facts, b) for b in complete]),
    )


def _row(facts: Facts, backend: str) -> list[Markup | str]:
    result = facts.results[backend]
    first, last = result["loss_curve"][0], result["loss_curve"][-1]
    difference, accuracy = result["largest_relative_difference"], result["test_accuracy"]
    same = element("span", "yes", class_="good") if result["agrees"] else None
    if backend == facts.record["reference"]:
        same = element("span", "reference")
    return [
        backend,
        number(first, f"{first:.6f}"),
        number(last, f"{last:.6f}"),
        number(difference, f"{difference:.1e}" if difference else "0"),
        same or element("span", "NO", class_="bad"),
        number(accuracy, f"{100 * accuracy:.1f} %"),
    ]


def _curves(facts: Facts, complete: list[str]) -> Markup:
    curves = {name: facts.results[name]["loss_curve"] for name in complete}
    values = [value for curve in curves.values() for value in curve]
    n_epochs = len(values) // len(curves)
    low, high = min(values), max(values)
    # Space above and below, also for a curve of one value, or of equal ones.
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    axes = Axes(Axis(0.5, n_epochs + 0.5), Axis(max(0.0, low - room), high + room))
    parts = axes.frame(("epoch", "loss"), "{:.4g}".format)
    for name, curve in curves.items():
        points = [(float(epoch), loss) for epoch, loss in enumerate(curve, 1)]
        if n_epochs == 1:
            points = [(0.7, curve[0]), (1.3, curve[0])]
        parts.append(axes.line(points, f"curve {name}", **_LOOKS[name]))
    ends = ", ".join(f"{name} from {c[0]:.4f} to {c[-1]:.4f}" for name, c in curves.items())
    caption = (
        "Mean loss of every epoch. The lines coincide: wide ones below, thin and dashed ones above."
    )
    drawn = picture(parts, f"Loss curves: {ends}")
    return element(
        "figure", element("figcaption", caption), drawn, legend((name, name) for name in curves)
    )
