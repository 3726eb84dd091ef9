"""Pictures show the given numbers, and change no global state."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from fastsoftmax import NotFittedError, SoftmaxClassifier
from fastsoftmax.lecture import Softmax
from fastsoftmax.plotting import (
    TrainingHistory,
    plot_bench,
    plot_confusion_matrix,
    plot_loss_curve,
    plot_loss_curves,
    plot_reliability,
    plot_roofline,
    plot_speed,
    plot_templates,
    plot_weights,
)

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
    assert texts(axes) == ["15k (extrapolated)", "400k  ~26.7×", "4.12M  ~275×"]
    assert texts(plot_speed({"a": 2.0, "b": 486.0}).axes[0]) == ["2", "486  243×"]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [True, False, False]
    assert "per second" in axes.get_xlabel()


@pytest.mark.costly
@pytest.mark.parametrize("slowest", [1e-3, 1e4, 4e6])
def test_every_bar_and_its_label_are_inside_the_axes(slowest):
    figure = plot_bench(CURVES, {**SPEEDS, "naive": slowest}, ["naive"])
    figure.draw_without_rendering()
    axes = figure.axes[1]
    box = axes.get_window_extent()
    for bar, label in zip(axes.patches, axes.texts, strict=True):
        assert bar.get_window_extent().width > 0
        assert label.get_window_extent().x1 <= box.x1


@pytest.mark.parametrize("extrapolated", [(), ("naive",)])
def test_the_axis_of_speed_is_for_the_bars(extrapolated):
    figure = plot_bench(CURVES, SPEEDS, extrapolated)
    figure.draw_without_rendering()
    axes = figure.axes[1]
    longest = max(label.get_window_extent().x1 for label in axes.texts)
    box = axes.get_window_extent()
    assert box.x0 + 0.9 * box.width <= longest <= box.x1


def test_ticks_of_epochs_are_round():
    figure = plot_bench({"a": [1.0] * 30}, SPEEDS)
    figure.draw_without_rendering()
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


def fitted(**attributes):
    """Return a model with the attributes that pictures read."""
    return SimpleNamespace(**attributes)


def test_a_models_loss_curve_holds_its_losses():
    model = SoftmaxClassifier(max_iter=4, tol=None).fit([[0.0], [1.0], [2.0]], ["a", "b", "c"])
    (axes,) = plot_loss_curve(model).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(line.get_ydata(), model.loss_curve_)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "training loss (nats)")


@pytest.mark.parametrize("scores", [[0.5, 0.75, 1.0], [0.5, 0.75], [0.5]])
def test_validation_scores_have_a_panel_over_the_same_epochs(scores):
    figure = plot_loss_curve(fitted(loss_curve_=[3.0, 2.0, 1.0], validation_scores_=scores))
    losses, accuracies = figure.axes
    np.testing.assert_array_equal(losses.lines[0].get_ydata(), [3.0, 2.0, 1.0])
    np.testing.assert_array_equal(accuracies.lines[0].get_ydata(), scores)
    np.testing.assert_array_equal(accuracies.lines[0].get_xdata(), range(1, len(scores) + 1))
    assert losses.get_xlim() == accuracies.get_xlim()
    assert accuracies.get_ylabel() == "validation accuracy"
    assert (losses.get_xlabel(), accuracies.get_xlabel()) == ("", "epoch")
    assert (accuracies.lines[0].get_marker() == "o") == (len(scores) == 1)


@pytest.mark.parametrize("scores", [None, []])
def test_without_validation_scores_there_is_no_panel_for_them(scores):
    model = fitted(loss_curve_=[3.0, 2.0], validation_scores_=scores)
    assert len(plot_loss_curve(model).axes) == 1


def test_weights_are_images_with_the_full_contrast_of_their_class(rng):
    model = SoftmaxClassifier(max_iter=5, tol=None, random_state=0)
    model.fit(rng.normal(size=(30, 6)), np.array(["cat", "dog", "owl"])[np.arange(30) % 3])
    axes = [one for one in plot_weights(model, SHAPE).axes if one.images]
    assert [one.get_title() for one in axes] == ["cat", "dog", "owl"]
    for one, weights in zip(axes, model.coef_, strict=True):
        drawn = one.images[0]
        np.testing.assert_array_equal(
            drawn.get_array(), (weights / np.abs(weights).max()).reshape(SHAPE)
        )
        assert drawn.get_clim() == (-1, 1)


def test_weights_in_colour_are_brighter_than_grey_where_they_speak_for_the_class():
    coef = np.zeros((2, 2 * 3 * 3))
    coef[0, [0, 4, 17]] = 2.0, -2.0, 1.0  # top left red, the next one's green, bottom right blue
    figure = plot_weights(fitted(coef_=coef, classes_=np.array([True, False])), (2, 3, 3))
    one, zeros, key = figure.axes
    assert key.get_ylabel() == "relative weight"
    assert [text.get_text() for text in key.get_xticklabels()] == ["R", "G", "B"]
    assert (one.get_title(), zeros.get_title()) == ("True", "False")
    expected = np.full((2, 3, 3), 0.5)
    expected[0, 0, 0], expected[0, 1, 1], expected[1, 2, 2] = 1.0, 0.0, 0.75
    np.testing.assert_array_equal(one.images[0].get_array(), expected)
    np.testing.assert_array_equal(zeros.images[0].get_array(), np.full((2, 3, 3), 0.5))
    red = (
        key.collections[0].get_array().reshape(-1, 3, 3)[:, 0]
    )  # a weight of -1, ... 1 of red alone
    np.testing.assert_allclose(red[[0, 16, 32]], [[0, 0.5, 0.5], [0.5] * 3, [1, 0.5, 0.5]])
    assert key.get_ylim() == (-1, 1)
    assert "above 0: a bright pixel is evidence" in figure.get_supxlabel()


def test_images_have_the_shape_of_cifar_by_default():
    coef = np.arange(2 * 3072.0).reshape(2, 3072)
    image = plot_weights(fitted(coef_=coef, classes_=[0, 1])).axes[1].images[0].get_array()
    np.testing.assert_array_equal(image, 0.5 + 0.5 * (coef[1] / 6143).reshape(32, 32, 3))


def test_templates_in_colour_share_a_scale():
    coef = np.array([[1.0, 0.0, -1.0], [4.0, 0.0, -2.0]])
    figure = plot_templates(coef, (1, 1, 3))
    *templates, key = figure.axes
    drawn = [one.images[0].get_array().tolist() for one in templates]
    assert drawn == [[[[0.625, 0.5, 0.375]]], [[[1.0, 0.5, 0.25]]]]
    assert key.get_ylim() == (-4, 4)


def test_few_templates_are_large():
    for n_classes, rows in ((2, 1), (5, 1), (10, 2), (26, 4), (100, 10)):
        figure = plot_templates(np.ones((n_classes, 6)), SHAPE)
        spec = figure.axes[0].get_subplotspec().get_gridspec()
        assert (spec.nrows, -(-n_classes // spec.ncols)) == (rows, rows)


def test_weights_of_the_lecture_are_drawn_without_those_of_the_ones():
    model = Softmax()
    model.W = np.vstack([COEF.T, np.full(10, 1e3)])
    for W in (model.W, COEF.T):
        model.W = W
        axes = [one for one in plot_weights(model, SHAPE, list("abcdefghij")).axes if one.images]
        assert [one.get_title() for one in axes] == list("abcdefghij")
        for one, weights in zip(axes, COEF, strict=True):
            expected = (weights / np.abs(weights).max()).reshape(SHAPE)
            np.testing.assert_array_equal(one.images[0].get_array(), expected)


def test_weights_are_left_as_they_are():
    coef = COEF.copy()
    plot_weights(fitted(coef_=coef, classes_=range(10)), SHAPE)
    np.testing.assert_array_equal(coef, COEF)


def overlap(texts):
    """Whether any two texts of a figure that is drawn lie on each other."""
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def is_inside(figure, artist):
    box = artist.get_window_extent()
    return box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


LABELS = [str, "a rather long name of class number {}".format, "one_word_of_many_letters_{}".format]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    ("n_classes", "shape"),
    [
        *((n, shape) for n in (2, 10, 60) for shape in ((4, 4), (4, 4, 3))),
        (10, (2, 8)),
        (13, (9, 3)),
    ],
    ids=str,
)
@pytest.mark.costly
def test_titles_of_weights_can_be_read(n_classes, label, shape):
    model = fitted(
        coef_=np.ones((n_classes, np.prod(shape))), classes_=[label(k) for k in range(n_classes)]
    )
    figure = plot_weights(model, shape)
    figure.draw_without_rendering()
    titles = [one.title for one in figure.axes if one.images]
    assert len({title.get_text() for title in titles}) == n_classes
    assert not overlap(titles)
    assert all(is_inside(figure, title) for title in titles)
    bars = [one.yaxis.label for one in figure.axes if not one.images and one.get_ylabel()]
    assert all(is_inside(figure, text) for text in bars)
    sides = [one.get_window_extent().size.max() for one in figure.axes if one.images]
    assert min(sides) >= 0.6 * figure.dpi  # 0.8 inches are meant, less what the layout keeps free


def test_labels_are_no_formulas():
    names = ["$x", "$\\nonsense$"]
    png(plot_weights(fitted(coef_=COEF[:2], classes_=names), SHAPE))
    png(plot_confusion_matrix(names, names))


TRUE, PREDICTED = ["b", "a", "b", "b", "c"], ["b", "a", "a", "b", "b"]


def test_a_confusion_matrix_has_true_classes_in_rows():
    axes, bar = plot_confusion_matrix(TRUE, PREDICTED).axes
    expected = [[1, 0, 0], [1, 2, 0], [0, 1, 0]]
    assert axes.images[0].get_array().tolist() == expected
    assert axes.images[0].get_clim() == (0, 2)
    drawn = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert drawn == {(i, j): str(expected[i][j]) for i in range(3) for j in range(3)}
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [text.get_text() for text in ticks] == ["a", "b", "c"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert axes.yaxis_inverted()  # the first class is on top
    assert bar.get_ylabel() == "samples"


def test_a_normalized_confusion_matrix_has_shares_of_rows():
    axes, bar = plot_confusion_matrix(
        TRUE, PREDICTED, labels=["c", "b", "x", "a"], normalize=True
    ).axes
    image = axes.images[0]
    expected = [[0, 1, 0, 0], [0, 2 / 3, 0, 1 / 3], [None] * 4, [0, 0, 0, 1]]
    assert image.get_array().tolist() == expected  # None is masked: a class without samples
    assert image.get_clim() == (0, 1)
    row = ["0", "0.67", "0", "0.33"]
    assert texts(axes) == ["0", "1.00", "0", "0", *row, "", "", "", "", "0", "0", "0", "1.00"]
    assert bar.get_ylabel() == "share of the true class"


DAY = "2020-02-29"


@pytest.mark.parametrize(
    ("true", "predicted", "names"),
    [
        ([3, -1, 3], [3, 3, 3], ["-1", "3"]),
        ([True, False], [True, True], ["False", "True"]),
        (np.array([1.0, 2.0]), [1, 2], ["1.0", "2.0"]),
        (np.array(["x", "long one"]), np.array(["x", "x"], object), ["long one", "x"]),
        (np.array([200, 7], np.uint8), np.array([7, 7], np.int64), ["7", "200"]),
        (["x"], ["x"], ["x"]),
        (np.array([DAY], "M8[D]"), np.array([DAY], "M8[ns]"), [DAY]),
        (np.array([2**63 + 1], np.uint64), np.array([7]), ["7", str(2**63 + 1)]),
    ],
)
def test_labels_may_be_of_any_kind(true, predicted, names):
    axes = plot_confusion_matrix(true, predicted).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert axes.images[0].get_array().sum() == len(true)


def test_a_confusion_matrix_is_that_of_scikit_learn(rng):
    from sklearn.metrics import confusion_matrix

    true, predicted = rng.integers(7, size=(2, 500))
    order = [3, 1, 0, 2, 6, 5, 4]
    for labels in (None, order):
        drawn = plot_confusion_matrix(true, predicted, labels=labels).axes[0].images[0].get_array()
        np.testing.assert_array_equal(drawn, confusion_matrix(true, predicted, labels=labels))


def test_numbers_stand_out_from_their_cells():
    axes = plot_confusion_matrix([0] * 20 + [1] * 11, [0] * 20 + [0] * 10 + [1]).axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours["20"] == "white"
    assert colours["0"] == colours["1"] == "black"
    drawn = axes.images[0].to_rgba(axes.images[0].get_array())
    for text in axes.texts:
        column, row = text.get_position()
        contrast = abs(to_rgb(text.get_color())[0] - drawn[row, column, :3].mean())
        assert contrast > 0.4


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("n_classes", [1, 2, 10, 23, 100, 350])
@pytest.mark.costly
def test_a_confusion_matrix_can_be_read(n_classes, label):
    names = [label(k) for k in range(n_classes)]
    figure = plot_confusion_matrix(names, names, labels=names)
    figure.draw_without_rendering()
    axes, bar = figure.axes
    n_shown = n_classes if n_classes <= 100 else 70  # every fifth of 350
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        shown = [text.get_text() for text in ticks]
        assert len(set(shown)) == len(shown) == n_shown
        assert not overlap(ticks)
        assert all(is_inside(figure, text) for text in ticks)
    for text in (axes.xaxis.label, axes.yaxis.label, bar.yaxis.label):
        assert is_inside(figure, text)
    cell = axes.get_window_extent().width / n_classes
    assert all(text.get_window_extent().width < cell for text in axes.texts)
    assert bool(axes.texts) == (n_classes <= 23)


def test_many_classes_show_a_single_error():
    labels = np.repeat(np.arange(100), 500)
    predicted = labels.copy()
    predicted[7 * 500] = 90
    predicted[3 * 500 : 3 * 500 + 4] = 60
    names = [f"class {k}" for k in range(100)]
    for normalize in (False, True):
        figure = plot_confusion_matrix(labels, predicted, None, normalize, names)
        figure.draw_without_rendering()
        axes, *bars = figure.axes
        hits, errors = axes.images
        assert errors.get_array().count() == 2  # the rest is masked
        colours = errors.to_rgba(errors.get_array())[[7, 3], [90, 60], :3]
        nothing = hits.to_rgba(hits.get_array())[0, 1, :3]
        assert np.abs(colours - nothing).max(axis=1).min() > 0.4
        assert np.abs(colours[0] - colours[1]).max() > 0.4
        what = "share of the true class" if normalize else "samples"
        titles = [bar.get_ylabel() for bar in bars]
        assert titles == [f"errors: {what}", f"on the diagonal: {what}"]
        common = "class 3 as class 60 (4), class 7 as class 90 (1)"
        assert axes.get_title() == f"errors: 5 of 50000 samples; most common: {common}"
        assert is_inside(figure, axes.title)
        assert all(is_inside(figure, bar.yaxis.label) for bar in bars)


def test_display_labels_are_those_of_the_sorted_classes():
    axes = plot_confusion_matrix([7, 3], [7, 7], display_labels=["three", "seven"]).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["three", "seven"]
    assert axes.images[0].get_array().tolist() == [[0, 1], [0, 1]]


def test_large_numbers_fit_their_cells_or_are_left_out():
    for n_classes, n_samples in ((10, 12_345), (20, 12_345)):
        labels = np.repeat(np.arange(n_classes), n_samples)
        figure = plot_confusion_matrix(labels, labels)
        figure.draw_without_rendering()
        axes = figure.axes[0]
        cell = axes.get_window_extent().width / n_classes
        assert all(text.get_window_extent().width < cell for text in axes.texts)
        assert bool(axes.texts) == (n_classes == 10)


def test_a_reliability_diagram_has_the_bins_with_samples():
    filled = {"low": 0.5, "high": 1.0, "confidence": 0.9, "accuracy": 0.75, "n_samples": 4}
    empty = {"low": 0.0, "high": 0.5, "confidence": None, "accuracy": None, "n_samples": 0}
    found = SimpleNamespace(reliability=[empty, filled], expected_calibration_error=0.15)
    figure = plot_reliability(found)
    top, bottom = figure.axes
    (bar,) = top.patches
    assert (bar.get_x(), bar.get_width(), bar.get_height()) == (0.5, 0.5, 0.75)
    assert [bar.get_height() for bar in bottom.patches] == [100]
    (gap,) = top.collections[0].get_segments()
    assert gap.tolist() == [[0.9, 0.75], [0.9, 0.9]]
    assert top.get_title() == "expected calibration error 15.00 %"
    found.reliability = [empty]
    with pytest.raises(ValueError, match=r"^found: expected at least one bin with samples"):
        plot_reliability(found)


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
        plot_bench(CURVES, SPEEDS, coef=COEF, image_shape=(2, 1, 3)),
        plot_loss_curve(fitted(loss_curve_=[2.0, 1.0], validation_scores_=[0.5, 1.0])),
        plot_weights(fitted(coef_=COEF, classes_=range(10)), (2, 1, 3)),
        plot_confusion_matrix(TRUE, PREDICTED, normalize=True),
    ],
)
@pytest.mark.costly
def test_a_picture_can_be_saved(figure):
    assert png(figure).startswith(b"\x89PNG")


def test_pyplot_is_not_imported():
    code = (
        "import sys, fastsoftmax.plotting as p; assert 'matplotlib' not in sys.modules;"
        "p.plot_bench({'a': [1.0]}, {'a': 1.0}, coef=[[1.0]], image_shape=(1, 1));"
        "p.plot_confusion_matrix([1], [1]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"plots need matplotlib, .*; pip install matplotlib$"):
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
        (plot_templates, (COEF, (6,)), "image_shape"),
        (plot_templates, (COEF, (1, 3, 2)), "image_shape"),
        (plot_templates, (COEF, (1, 1, 2, 3)), "image_shape"),
        (plot_templates, (np.full((2, 6), np.nan), SHAPE), "coef"),
        (plot_templates, (COEF, SHAPE, ["only one"]), "labels"),
        (plot_weights, (fitted(coef_=COEF, classes_=range(10)),), "image_shape"),
        (plot_weights, (fitted(coef_=COEF[:1], classes_=range(2)), SHAPE), "model"),
        (plot_weights, (fitted(coef_=np.ones((101, 6)), classes_=range(101)), SHAPE), "coef_"),
        (plot_weights, (SoftmaxClassifier(), SHAPE), "model"),
        (plot_loss_curve, (SoftmaxClassifier(),), "model"),
        (plot_loss_curve, ([],), "model"),
        (plot_loss_curve, ([[1.0, 2.0]],), "model"),
        (plot_weights, (Softmax(), SHAPE), "model"),
        (plot_weights, (fitted(W=COEF), SHAPE), "image_shape"),
        (plot_weights, (fitted(coef_=COEF, classes_=range(10)), SHAPE, "ten"), "display_labels"),
        (plot_confusion_matrix, ([1, 2], [1, 2], None, False, ["a"]), "display_labels"),
        (TrainingHistory, ([[1.0]],), "X_validation, y_validation"),
        (plot_loss_curve, (fitted(loss_curve_=[]),), "model"),
        (plot_confusion_matrix, ([], []), "y_true"),
        (plot_confusion_matrix, ([1, 2], [1]), "y_pred"),
        (plot_confusion_matrix, ([[1, 2]], [1, 2]), "y_true"),
        (plot_confusion_matrix, ([1, 2], [1.5, 2]), "y_pred"),
        (plot_confusion_matrix, ([1, 2], [1, 2], [1]), "labels"),
        (plot_confusion_matrix, ([1, 2], [1, 2], [1, 2, 1]), "labels"),
        (plot_confusion_matrix, ([1, 2], [1, 2], []), "labels"),
        (plot_confusion_matrix, ([1], [1], range(1001)), "labels"),
        (plot_confusion_matrix, (range(1001), range(1001)), "y_true, y_pred"),
        (plot_roofline, (1e11, 1e10, {}, {}), "phases"),
        (plot_bench, ({}, SPEEDS), "curves"),
        (plot_bench, (CURVES, {}), "samples_per_second"),
        (plot_bench, (CURVES, SPEEDS, (), COEF, (5, 5)), "image_shape"),
    ],
)
def test_bad_arguments_are_named(plot, arguments, name):
    with pytest.raises(ValueError, match=f"^{name}: "):
        plot(*arguments)


@pytest.mark.parametrize(
    ("plot", "arguments", "name"),
    [
        (plot_templates, (COEF, 6), "image_shape"),
        (plot_templates, ([["a", "b"]], (1, 2)), "coef"),
        (plot_templates, (COEF, (2.0, 3.0)), "image_shape"),
        (plot_confusion_matrix, ([1, 2], ["1", "2"]), "y_pred"),
        (plot_confusion_matrix, ([1, 2], ["1", "2"], [1, 2]), "y_pred"),
        (plot_confusion_matrix, (["1", "2"], [b"1", b"2"]), "y_pred"),
        (plot_confusion_matrix, ([1, None], [1, 2]), "y_true"),
        (plot_confusion_matrix, ([1, 2], [1, 2], ["a", 1]), "labels"),
        (plot_confusion_matrix, ([1, 2], [1, 2], None, "pred"), "normalize"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(plot, arguments, name):
    with pytest.raises(TypeError, match=f"^{name}: "):
        plot(*arguments)


def test_a_model_that_is_not_fitted_is_told_apart():
    with pytest.raises(NotFittedError, match="SoftmaxClassifier without it; call fit"):
        plot_weights(SoftmaxClassifier())


def test_an_image_shape_that_does_not_fit_is_told_the_number_of_features():
    with pytest.raises(ValueError, match=r"product 6, .* got \(32, 32, 3\) with the product 3072"):
        plot_weights(fitted(coef_=COEF, classes_=range(10)))


def test_no_label_of_a_roofline_crosses_an_axis():
    for ridge_is_left in (False, True):
        x = 500.0 if ridge_is_left else 0.5
        figure = plot_roofline(2.4e11, 2e10, {"scores": (x, 2e11)}, {"compiled": (x, 1.9e11)})
        figure.draw_without_rendering()
        axes = figure.axes[0]
        inside = axes.get_window_extent()
        assert not axes.texts
        assert axes.get_legend().get_window_extent().x0 > inside.x1
        assert not any(label.get_text() for label in axes.yaxis.get_minorticklabels())
        assert not overlap(axes.get_yticklabels())
