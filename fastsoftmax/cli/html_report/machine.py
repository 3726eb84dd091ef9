"""The machine, the versions and the settings of the run."""

from ..numbers import count, three_digits
from .facts import Facts
from .markup import NOTHING, Markup, element, filled, section, table

_SETTINGS = (
    ("data", "data"),
    ("samples to train on", "n_train"),
    ("samples to test on", "n_test"),
    ("features", "n_features"),
    ("classes", "n_classes"),
    ("dtype", "dtype"),
    ("batch size", "batch_size"),
    ("epochs", "epochs"),
    ("learning rate", "learning_rate"),
    ("maximum number of threads", "n_threads"),
    ("seed", "seed"),
)
_NOTE = (
    "Times depend on the machine and on its load. Run the command on yours before you quote them."
)


def machine_section(facts: Facts) -> Markup:
    """Return the section."""
    described = facts.record["machine"]
    rows = [
        ["CPU", described["cpu"]],
        ["CPUs that the process may use", str(described["cpus"])],
        ["instruction set of compiled", described["instruction_set"] or NOTHING],
        ["system", described["system"]],
        ["date", element("time", facts.record["date"], datetime=facts.record["date"])],
    ]
    if (load := described["load_before"]) is not None:
        rows.append(["load before the run", f"{three_digits(load)} (threads that wanted a CPU)"])
    versions = [
        [name, version or "not installed"] for name, version in facts.record["versions"].items()
    ]
    settings = [[title, str(facts.settings[key])] for title, key in _SETTINGS]
    return section(
        "machine",
        "Machine, versions, settings",
        element(
            "div",
            table("machine-table", "Machine", ("what", "value"), rows),
            table("versions-table", "Versions", ("package", "version"), versions),
            table("settings-table", "Settings of the training", ("setting", "value"), settings),
            class_="text",
        ),
        filled("<p>{note}</p>", note=_NOTE),
    )


def in_a_line(facts: Facts) -> str:
    """Return a description of the data, the training and the machine."""
    s, described = facts.settings, facts.record["machine"]
    data = {"digits": "handwritten digits", "made-up": "synthetic samples"}.get(
        s["data"], f"samples of {s['data']}"
    )
    return (
        f"{facts.n} {data}, {count(facts.d, 'number')} each ({s['dtype']}), in {facts.c} classes; "
        f"{count(s['epochs'], 'epoch')} with minibatches of {facts.batch_size}; "
        f"{described['cpu']} and {count(s['n_threads'], 'thread')}"
    )
