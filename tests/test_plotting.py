"""Pictures: what is drawn is what was given, and nothing global is touched."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from fastsoftmax.plotting import plot_bench, plot_loss_curves, plot_speed, plot_templates

CURVES = {"naive": [2.3, 1.1, 0.7], "compiled": [2.3, 1.1, 0.7]}
SPEEDS = {"naive": 1.5e4, "numba": 4e5, "compiled": 4.123e6}
COEF = np.arange(60.0).reshape(10, 6) - 20
SHAPE = (2, 3)


def png(figure):
    from io import BytesIO

    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_loss_curves_hold_the_losses():
    figure = plot_loss_curves(CURVES)
    (axes,) = figure.axes
    drawn = {line.get_label(): line for line in axes.lines}
    for name, curve in CURVES.items():
        np.testing.assert_array_equal(drawn[name].get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(drawn[name].get_ydata(), curve)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(CURVES)
    assert "nats" in axes.get_ylabel()
    assert axes.get_xlabel() == "epoch"


def test_equal_loss_curves_do_not_hide_each_other():
    axes = plot_loss_curves({name: [3.0, 2.0] for name in "abcd"}).axes[0]
    widths = [line.get_linewidth() for line in axes.lines]
    assert widths == sorted(widths, reverse=True)
    assert len(set(widths)) == 4
    assert len({line.get_color() for line in axes.lines}) == 4


def test_a_single_epoch_can_be_seen():
    (line,) = plot_loss_curves({"a": [1.0]}).axes[0].lines
    assert line.get_marker() == "o"


def test_speed_is_drawn_as_bars_on_a_logarithmic_axis():
    axes = plot_speed(SPEEDS, ["naive"]).axes[0]
    assert axes.get_xscale() == "log"
    assert [bar.get_width() for bar in axes.patches] == list(SPEEDS.values())
    assert [label.get_text() for label in axes.get_yticklabels()] == list(SPEEDS)
    assert texts(axes) == ["15k (extrapolated)", "400k", "4.12M"]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [True, False, False]
    assert "per second" in axes.get_xlabel()


@pytest.mark.parametrize("slowest", [1e-3, 1e4, 4e6])
def test_every_bar_and_its_label_are_inside_the_axes(slowest):
    figure = plot_bench(CURVES, {**SPEEDS, "naive": slowest}, ["naive"])
    figure.canvas.draw()
    axes = figure.axes[1]
    box = axes.get_window_extent()
    for bar, label in zip(axes.patches, axes.texts, strict=True):
        assert bar.get_window_extent().width > 0
        assert label.get_window_extent().x1 <= box.x1


@pytest.mark.parametrize("extrapolated", [(), ("naive",)])
def test_the_axis_of_speed_is_for_the_bars(extrapolated):
    figure = plot_bench(CURVES, SPEEDS, extrapolated)
    figure.canvas.draw()
    axes = figure.axes[1]
    longest = max(label.get_window_extent().x1 for label in axes.texts)
    box = axes.get_window_extent()
    assert box.x0 + 0.9 * box.width <= longest <= box.x1


def test_ticks_of_epochs_are_round():
    figure = plot_bench({"a": [1.0] * 30}, SPEEDS)
    figure.canvas.draw()
    axes = figure.axes[0]
    (step,) = set(np.diff(axes.get_xticks()))
    assert step in {1, 2, 5, 10}


def test_templates_are_the_rows_of_coef_as_images():
    axes = plot_templates(COEF, SHAPE, labels="abcdefghij").axes
    images = [one for one in axes if one.images]
    assert [one.get_title() for one in images] == list("abcdefghij")
    for one, weights in zip(images, COEF, strict=True):
        np.testing.assert_array_equal(one.images[0].get_array(), weights.reshape(SHAPE))
        # One scale for all, with the middle of the colours at 0.
        assert one.images[0].get_clim() == (-39, 39)


def test_templates_of_zeros_have_a_scale():
    one = plot_templates(np.zeros((2, 6)), SHAPE).axes[0]
    low, high = one.images[0].get_clim()
    assert low < 0 < high


@pytest.mark.parametrize("n_classes", [1, 2, 10, 11, 23])
def test_there_is_one_template_for_each_class(n_classes):
    figure = plot_templates(np.ones((n_classes, 6)), SHAPE)
    titles = [axes.get_title() for axes in figure.axes if axes.images]
    assert titles == [str(label) for label in range(n_classes)]


def test_the_bench_picture_has_all_parts():
    figure = plot_bench(CURVES, SPEEDS, ["numba"], COEF, SHAPE, "the title", "the templates")
    assert isinstance(figure, Figure)
    assert [sub.get_suptitle() for sub in figure.subfigs] == ["the title", "the templates"]
    curves, speed, *templates = figure.axes
    assert len(curves.lines) == 2
    assert len(speed.patches) == 3
    assert sum(bool(axes.images) for axes in templates) == 10


def test_data_that_are_no_images_get_no_templates():
    figure = plot_bench(CURVES, SPEEDS, coef=COEF, image_shape=None)
    assert len(figure.axes) == 2


def test_a_name_has_one_colour_in_all_parts():
    curves = {"compiled": [1.0, 0.5]}  # naive and numba have none
    left, right = plot_bench(curves, SPEEDS).axes
    assert to_hex(left.lines[0].get_color()) == to_hex(right.patches[2].get_facecolor())


@pytest.mark.parametrize(
    "figure",
    [
        plot_loss_curves(CURVES),
        plot_speed(SPEEDS),
        plot_templates(COEF, SHAPE),
        plot_bench(CURVES, SPEEDS, ["naive"], COEF, SHAPE, "title"),
    ],
)
def test_a_picture_can_be_saved(figure):
    assert png(figure).startswith(b"\x89PNG")


def test_pyplot_is_not_imported():
    code = (
        "import sys, fastsoftmax.plotting as p; assert 'matplotlib' not in sys.modules;"
        "p.plot_bench({'a': [1.0]}, {'a': 1.0}, coef=[[1.0]], image_shape=(1, 1));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "fastsoftmax\[bench\]"'):
        plot_loss_curves(CURVES)


@pytest.mark.parametrize(
    ("plot", "arguments", "name"),
    [
        (plot_loss_curves, ({},), "curves"),
        (plot_loss_curves, ({"a": []},), "curves"),
        (plot_speed, ({},), "samples_per_second"),
        (plot_speed, ({"a": 0.0},), "samples_per_second"),
        (plot_speed, ({"a": float("nan")},), "samples_per_second"),
        (plot_speed, ({"a": float("inf")},), "samples_per_second"),
        (plot_templates, (np.zeros(6), SHAPE), "coef"),
        (plot_templates, (np.zeros((0, 6)), SHAPE), "coef"),
        (plot_templates, (np.zeros((101, 6)), SHAPE), "coef"),
        (plot_templates, (COEF, (2, 4)), "image_shape"),
        (plot_templates, (COEF, (-2, -3)), "image_shape"),
        (plot_templates, (COEF, SHAPE, ["only one"]), "labels"),
        (plot_bench, ({}, SPEEDS), "curves"),
        (plot_bench, (CURVES, {}), "samples_per_second"),
        (plot_bench, (CURVES, SPEEDS, (), COEF, (5, 5)), "image_shape"),
    ],
)
def test_bad_arguments_are_named(plot, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        plot(*arguments)
