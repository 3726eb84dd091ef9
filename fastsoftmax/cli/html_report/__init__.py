"""The report of `fastsoftmax bench`: one HTML page for a lecture, made from the record alone.

All numbers on it are those of the record; the texts are the project's own, and everything else
(names of CPUs, messages) is escaped. It refers to nothing outside itself.
"""

from ..._version import __version__
from ..machine import note_of_load
from .backends import backends_section
from .facts import Facts, Record
from .fusion import fusion_section
from .limits import limits_section
from .losses import losses_section
from .machine import in_a_line, machine_section
from .markup import Markup, element, filled, joined
from .phases import phases_section
from .speed import speed_section, summary
from .style import style_sheet
from .task import task_section
from .templates import templates_section

_TITLE = "Softmax regression, from loops to fused kernels"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CONTENTS = {
    "task": "The task",
    "backends": "The backends",
    "speed": "Speed",
    "phases": "Phases",
    "fusion": "Fusion",
    "limits": "Limits",
    "losses": "Losses",
    "templates": "Weights",
    "machine": "Machine",
}


def render(record: Record, weights: bytes | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    record : mapping
        As `as_record` of the comparison, with the list "profiles" of `profile_runs`; at least one result.
    weights : bytes, optional
        The picture of the learned weights, a PNG.
    """
    facts = Facts(record)
    sections = {
        "task": task_section(facts),
        "backends": backends_section(facts),
        "speed": speed_section(facts),
        "phases": phases_section(facts),
        "fusion": fusion_section(facts),
        "limits": limits_section(facts),
        "losses": losses_section(facts),
        **({} if weights is None else {"templates": templates_section(facts, weights)}),
        "machine": machine_section(facts),
    }
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"fastsoftmax {__version__}"),
        element("title", f"{_TITLE}: fastsoftmax bench"),
        element("style", Markup(style_sheet())),
    )
    body = element(
        "body",
        _header(facts, sections),
        element("main", *sections.values()),
        element("footer", element("p", f"Made by fastsoftmax {__version__}, fastsoftmax bench.")),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _header(facts: Facts, sections: dict[str, Markup]) -> Markup:
    links = joined(
        element("li", element("a", _CONTENTS[name], href=f"#{name}")) for name in sections
    )
    lead = filled("{run}. {result}", run=in_a_line(facts), result=summary(facts))
    described = facts.record["machine"]
    note = note_of_load(described["load_before"], described["cpus"])
    return element(
        "header",
        element("h1", _TITLE),
        element("p", lead, class_="lead"),
        "" if note is None else element("p", note, class_="note", role="note"),
        element("nav", element("ol", links), aria_label="Contents"),
    )
