"""The comparison in short, for a notebook: a table of the backends, and the picture."""

from collections.abc import Mapping

from ..numbers import duration, three_digits, with_prefix
from .facts import Record
from .markup import Markup, element, filled, joined, number

_TITLES = (
    *("backend", "median epoch", "samples per s", "over naive", "over vectorized"),
    *("final loss", "test accuracy", "same losses"),
)


def fragment_of(record: Record, heading: Mapping[str, str], picture: str | None) -> str:
    """Return the fragment of HTML; `picture` is a PNG in base64."""
    head = element("tr", *(element("th", title) for title in _TITLES))
    rows = [_row(record, result) for result in record["results"]]
    for absent in record["left_out"]:
        why = f"{absent['status']}: {absent['reason']}"
        rows.append(
            element(
                "tr", element("th", absent["backend"]), element("td", why, colspan=len(_TITLES) - 1)
            )
        )
    parts = [element("p", joined(_line(text) for text in heading.values()))]
    parts.append(element("table", element("thead", head), element("tbody", *rows)))
    if picture is not None:
        source = f"data:image/png;base64,{picture}"
        parts.append(element("img", src=source, alt="Loss curves, speed and learned weights"))
    return element("div", *parts)


def _line(text: str) -> Markup:
    return filled("{text}<br>", text=text)


def _row(record: Record, result: Record) -> Markup:
    about = "~" if result["extrapolated"] else ""
    seconds, speed = result["median_epoch_seconds"], result["samples_per_second"]
    loss, accuracy = result["final_loss"], result["test_accuracy"]
    cells = [
        number(seconds, about + duration(seconds)),
        number(speed, about + with_prefix(speed)),
        *(
            number(ratio, "" if ratio is None else f"{three_digits(ratio)}×")
            for ratio in (result["speed_over_naive"], result["speed_over_vectorized"])
        ),
        number(loss, "" if loss is None else f"{loss:.4f}"),
        number(accuracy, "" if accuracy is None else f"{100 * accuracy:.1f} %"),
        _agreement(record, result),
    ]
    name = element("th", result["backend"])
    return element("tr", name, *(element("td", cell) for cell in cells))


def _agreement(record: Record, result: Record) -> Markup | str:
    difference = result["largest_relative_difference"]
    if result["backend"] == record["reference"]:
        return "reference"
    text = "" if difference is None else f"{'yes' if result['agrees'] else 'NO'} {difference:.0e}"
    return number(difference, text)
