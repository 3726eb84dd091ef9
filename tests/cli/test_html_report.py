"""`fastsoftmax bench --report`: one page, well-formed, of its own, and with the numbers of the run."""

import copy
import json
import re
import sys
from html.parser import HTMLParser

import pytest

from fastsoftmax.backends import why_unavailable
from fastsoftmax.cli import files, machine, main, timing, workload
from fastsoftmax.cli.html_report import backends, facts, fusion, losses, phases, render, style
from fastsoftmax.cli.html_report.axes import Axis
from fastsoftmax.cli.html_report.bars import bar, logarithmic_lengths
from fastsoftmax.cli.html_report.markup import Markup, element, filled
from fastsoftmax.cli.numbers import duration
from fastsoftmax.cli.results import ORDER
from fastsoftmax.persistence import atomic
from fastsoftmax.profiling import provenance

SMALL = ("bench", "--no-plot", "--epochs", "2", "--threads", "1")
SHAPE = ("--shape", "300x20x3", "--batch-size", "50")
HOSTILE = """</title><script>alert('x')</script>"&<img src="http://example.org/" onerror=x>{0}"""
VOID = {"meta", "img", "br"}
SECTIONS = ["task", "backends", "speed", "phases", "fusion", "limits", "losses", "machine"]


class Page(HTMLParser):
    """A page, taken apart: every tag balanced, and the tables by their ids."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.texts = [], [], {}, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "table":
            self.rows = self.tables[attributes["id"]] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")
        elif tag == "data":
            float(attributes["value"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, _):
        raise AssertionError(f"<{tag}/> is XML")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
        if {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def table(self, name):
        """Rows by their first cells, and in them cells by the titles of the columns."""
        titles, *rows = self.tables[name]
        return {row[0]: dict(zip(titles, row, strict=True)) for row in rows}

    def values(self, text, name):
        """The numbers of a table, in the order of reading, with all digits."""
        (part,) = re.findall(f'<table id="{name}".*?</table>', text)
        return [float(value) for value in re.findall(r'<data value="(.*?)">', part)]


def made(folder, *arguments):
    """The text of a page and the record of the same run."""
    page, record = folder / "bench.html", folder / "bench.json"
    code = main([*SMALL, *arguments, "--report", str(page), "--json", str(record)])
    assert code == 0
    assert {path.name for path in folder.iterdir()} == {"bench.html", "bench.json"}
    return page.read_text(encoding="utf-8"), json.loads(record.read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return made(tmp_path_factory.mktemp("report"), *SHAPE)


def test_the_page_is_whole_and_every_link_has_its_target(run):
    text, _ = run
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>\n<html")
    ids = page.ids()
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS]
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert {"#" + name for name in ids} >= set(links)
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_the_page_refers_to_nothing_outside(run):
    text, _ = run
    for word in (
        "http:",
        "https:",
        "@import",
        "url(",
        "<script",
        "<link",
        "<iframe",
        "javascript:",
    ):
        assert word not in text
    for _, attributes in Page(text).tags:
        assert not {"src", "srcset", "action", "data", "poster", "xlink:href"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]


def test_pictures_have_descriptions_and_tables_have_titles(run):
    pictures = [attributes for tag, attributes in Page(run[0]).tags if tag == "svg"]
    assert len(pictures) > 8
    for attributes in pictures:
        assert attributes.get("aria-label") or attributes["aria-hidden"] == "true"
    for tag, attributes in Page(run[0]).tags:
        if tag == "table":
            assert attributes["aria-labelledby"] == f"{attributes['id']}-caption"


def test_the_speeds_are_those_of_the_record(run):
    text, record = run
    page = Page(text)
    rows = page.table("speed-table")
    assert list(rows) == [result["backend"] for result in record["results"]]
    expected = []
    for result in record["results"]:
        seconds = result["median_epoch_seconds"]
        assert rows[result["backend"]]["time per epoch"] == duration(seconds)
        expected += [
            seconds,
            result["samples_per_second"],
            result["speed_over_naive"],
            result["speed_over_vectorized"],
            # 2 * N * D * C multiply-adds
            1e9 * seconds / (2 * 300 * 20 * 3),
        ]
    assert page.values(text, "speed-table") == pytest.approx(expected)


def test_the_phases_are_those_of_the_profiles_and_add_up(run):
    text, record = run
    rows = Page(text).table("phases-table")
    assert [profile["backend"] for profile in record["profiles"]] == [
        result["backend"] for result in record["results"]
    ]
    for profile in record["profiles"]:
        assert 1 <= profile["n_epochs"] <= 2
        parts = 0.0
        for phase in profile["phases"]:
            if phase["seconds"]:
                milliseconds = 1e3 * phase["seconds"] / profile["n_epochs"]
                shown = float(rows[phase["name"]][profile["backend"]])
                assert shown == pytest.approx(milliseconds, rel=6e-3), "three digits"
                parts += shown
        whole = float(rows["whole epoch"][profile["backend"]])
        assert whole == pytest.approx(parts, rel=2e-2)


def test_rows_that_were_packed_are_said_to_be(run):
    record = copy.deepcopy(run[1])
    words = "packed once, in the order in which the kernels read them"
    (compiled,) = [p for p in record["profiles"] if p["backend"] == "compiled"]
    (rows,) = [phase for phase in compiled["phases"] if phase["name"] == fusion.NAMES[0]]
    for bandwidth, are_packed in ((1e9, True), (None, False)):
        rows["bandwidth"] = bandwidth
        assert (words in render(record)) is are_packed
        assert ("read in place" in render(record)) is not are_packed


def test_the_losses_are_those_of_the_record_and_the_same(run):
    text, record = run
    rows = Page(text).table("losses-table")
    for result in record["results"]:
        row = rows[result["backend"]]
        assert row["loss of the last epoch"] == f"{result['final_loss']:.6f}"
        assert row["the same"] == ("reference" if result["backend"] == "naive" else "yes")


def test_a_backend_that_went_another_way_is_marked(run):
    record = copy.deepcopy(run[1])
    record["results"][-1]["agrees"] = False
    row = Page(render(record)).table("losses-table")[record["results"][-1]["backend"]]
    assert row["the same"] == "NO"


def test_the_limits_are_those_of_the_record(run):
    text, record = run
    page = Page(text)
    rows = page.table("limits-table")
    for profile in record["profiles"]:
        whole = rows[f"{profile['backend']}, whole epoch"]
        gigaflops = 4e-9 * 300 * 20 * 3 * profile["n_epochs"] / profile["seconds"]
        assert float(whole["GFLOP/s"]) == pytest.approx(gigaflops, rel=6e-3)
        for phase in profile["phases"]:
            if phase["flops"]:
                row = rows[f"{profile['backend']}, {phase['name']}"]
                assert float(row["GFLOP/s"]) == pytest.approx(phase["flops"] / 1e9, rel=6e-3)
                assert float(row["share of the limit"].rstrip(" %")) == pytest.approx(
                    100 * phase["of_peak"], rel=6e-3
                )
    # The intensity of an epoch: 4 * C operations for a number of four bytes.
    assert "= 4·3/4 = 3: " in "".join(page.texts)


def test_the_same_record_gives_other_words_on_the_other_side_of_the_ridge(run):
    record = copy.deepcopy(run[1])
    for read, words in ((1e9, "memory is the nearer"), (1e15, "arithmetic is the nearer")):
        for profile in record["profiles"]:
            profile["peaks"] |= {"float32": 1e12, "read": read}
        assert words in render(record)


def test_without_the_compiled_backend_the_limits_are_said_to_be_unknown(run):
    record = copy.deepcopy(run[1])
    reason = "no C compiler was there"
    record["left_out"] = [{"backend": "compiled", "status": "missing", "reason": reason}]
    record["results"] = [r for r in record["results"] if r["backend"] != "compiled"]
    record["profiles"] = [p for p in record["profiles"] if p["backend"] != "compiled"]
    for profile in record["profiles"]:
        profile["peaks"] = None
        for phase in profile["phases"]:
            phase |= {"of_peak": None, "limit": None}
    page = Page(render(record))
    words = " ".join("".join(page.texts).split())
    assert f"(missing): {reason}" in words
    assert "The limits of this machine are not known here" in words
    assert page.table("limits-table")["naive, whole epoch"]["share of the limit"] == "–"  # noqa: RUF001
    assert "fusion-times" not in page.tables


def test_what_comes_from_outside_is_escaped(monkeypatch, tmp_path):
    for module in (provenance, workload):
        monkeypatch.setattr(module, "cpu_name", lambda: HOSTILE)
    text, record = made(tmp_path, *SHAPE, "--backends", "vectorized")
    assert record["machine"]["cpu"] == HOSTILE
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "img")]
    assert page.table("machine-table")["CPU"]["value"] == HOSTILE
    assert HOSTILE in "".join(page.texts)


def test_where_numba_is_not_installed_the_page_says_so(monkeypatch, tmp_path):
    reason = 'No module named "numba": pip install numba'
    monkeypatch.setattr(
        machine,
        "why_unavailable",
        lambda name: reason if name == "numba" else why_unavailable(name),
    )
    text, _ = made(tmp_path, *SHAPE)
    page = Page(text)
    for name in ("speed-table", "losses-table"):
        assert list(page.table(name)) == [backend for backend in ORDER if backend != "numba"]
    assert "numba" not in page.table("phases-table")["whole epoch"]
    assert f"(not available): {reason}" in "".join(page.texts)


def test_a_backend_timed_on_a_sample_is_extrapolated(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "_affordable_rows", lambda *_: 100)
    text, record = made(tmp_path, *SHAPE)
    page = Page(text)
    assert record["profiles"][0]["n_rows"] == 100
    assert page.table("speed-table")["naive"]["time per epoch"].startswith("~")
    seconds = 3 * record["profiles"][0]["seconds"] / record["profiles"][0]["n_epochs"]
    assert float(page.table("phases-table")["whole epoch"]["~naive"]) == pytest.approx(
        1e3 * seconds, rel=6e-3
    )
    assert "naive" not in page.table("losses-table")
    assert "on 100 of 300 samples" in " ".join("".join(page.texts).split())


def test_a_sample_alone_gives_no_losses_to_compare(monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "_affordable_rows", lambda *_: 100)
    text, _ = made(tmp_path, *SHAPE, "--backends", "naive")
    page = Page(text)
    assert "No backend has trained on all samples." in page.texts
    assert "losses-table" not in page.tables


def test_images_show_the_weights(tmp_path):
    text, _ = made(tmp_path, "--backends", "compiled")
    (image,) = [attributes for tag, attributes in Page(text).tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,iVBOR")
    assert image["alt"].startswith("10 images")
    assert '<section id="templates"' in text


def test_without_matplotlib_there_is_no_such_picture(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text, _ = made(tmp_path, "--backends", "compiled")
    assert "<img" not in text


def test_one_epoch_in_one_step_of_one_feature(tmp_path):
    text, _ = made(tmp_path, "--shape", "2x1x2", "--epochs", "1")
    assert Page(text).table("fusion-table")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("bench.txt", 2, "expected a file name that ends in .html or .htm"),
        ("bench", 2, "expected a file name that ends in .html or .htm"),
        ("-", 2, "expected a file name that ends in .html or .htm"),
        ("no/such/folder/bench.html", 1, "cannot be written: No such file or directory"),
        ("folder.html", 1, "cannot be written: is a folder"),
        ("a" * 300 + ".html", 1, "cannot be written: File name too long"),
        ("/proc/bench.html", 1, "'/proc/bench.html' cannot be written: "),
    ],
)
def test_a_page_that_cannot_be_saved_is_one_line_before_the_training(
    capsys, monkeypatch, tmp_path, name, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    monkeypatch.setattr(timing.Run, "run_epoch", None)
    assert main([*SMALL, *SHAPE, "--report", name]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "argument --report: " in err
    assert words in err


def test_a_page_that_is_write_protected_is_not_replaced(capsys, monkeypatch, tmp_path):
    page = tmp_path / "bench.html"
    page.write_text("mine")
    # What the system says to others than root.
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    assert main([*SMALL, *SHAPE, "--report", str(page)]) == 1
    reason = f"argument --report: {str(page)!r} cannot be written: is write-protected"
    assert capsys.readouterr() == ("", f"fastsoftmax bench: error: {reason}\n")
    assert page.read_text() == "mine"


def test_report_and_record_do_not_go_to_one_file(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main([*SMALL, *SHAPE, "--report", "a.html", "--json", "./a.html"]) == 2
    assert "is where the report goes" in capsys.readouterr().err


def test_a_disk_that_is_full_leaves_the_old_page(capsys, monkeypatch, tmp_path):
    def fails(*_):
        raise OSError(28, "No space left on device")

    page = tmp_path / "bench.html"
    page.write_text("old")
    monkeypatch.setattr(atomic.os, "fsync", fails)
    assert main([*SMALL, *SHAPE, "--backends", "vectorized", "--report", str(page)]) == 1
    err = capsys.readouterr().err
    reason = f"argument --report: {str(page)!r} cannot be written: No space left on device"
    assert err == f"fastsoftmax bench: error: {reason}\n"
    assert page.read_text() == "old"
    assert list(tmp_path.iterdir()) == [page]


def test_without_a_report_nothing_is_profiled(capsys):
    assert main([*SMALL, *SHAPE, "--backends", "vectorized", "--json", "-"]) == 0
    assert "profiles" not in json.loads(capsys.readouterr().out)


def test_a_busy_machine_is_named_on_the_page(run):
    record = copy.deepcopy(run[1])
    for load, is_busy in ((1.5, True), (0.9, False), (None, False)):
        record["machine"] |= {"load_before": load, "cpus": 2}
        assert ("The machine was busy before this run" in render(record)) is is_busy


def test_a_peak_that_fewer_threads_have_reached_is_named_on_the_page(run):
    record = copy.deepcopy(run[1])
    text = "read: 2 threads together were slower than fewer threads"
    assert text not in render(record)
    for of_backend in record["profiles"]:
        of_backend["peaks"] |= {"n_threads": 2, "by_fewer": ["read"]}
    assert text in render(record)


def test_every_backend_and_every_phase_has_words_and_colours():
    assert backends._WORDS.keys() == losses._LOOKS.keys() == set(ORDER)
    assert phases._MEANINGS.keys() == facts.PHASES.keys()
    sheet = style.style_sheet()
    for name in (*ORDER, *facts.PHASES.values()):
        assert len(re.findall(f"--{name}: #[0-9a-f]{{6}};", sheet)) == 2, "light and dark"


def test_elements_escape_all_but_markup():
    assert (
        element("p", "<&>", Markup("<br>"), class_='"') == '<p class="&quot;">&lt;&amp;&gt;<br></p>'
    )
    assert filled("<b>{x}</b>", x="<i>") == "<b>&lt;i&gt;</b>"
    assert element("rect", stroke_width=2, x=None) == '<rect stroke-width="2"></rect>'


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Axis(0.0, 1.0), [0.0, 0.5, 1.0]),
        (Axis(0.5, 30.5), [10, 20, 30]),
        (Axis(0.05, 2000.0, True), [0.1, 1, 10, 100, 1000]),
    ],
)
def test_ticks_are_round_and_on_the_axis(axis, ticks):
    assert axis.ticks() == pytest.approx(ticks)
    assert axis.share(axis.low) == pytest.approx(0, abs=1e-15)
    assert axis.share(axis.high) == pytest.approx(1)


def test_bars_are_as_long_as_their_shares():
    # A decade below the smallest to the largest: three decades, of which the bars take 1, 2 and 3.
    assert logarithmic_lengths([1.0, 10.0, 100.0]) == pytest.approx([1 / 3, 2 / 3, 1])
    lefts = re.findall(r' x="(.*?)"', bar([("scores", 0.25), ("loss", 0.75)], "both"))
    assert [float(left) for left in lefts] == [0, 250]
