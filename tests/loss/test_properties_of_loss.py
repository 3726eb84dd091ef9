"""What holds of the loss core whatever the numbers are, on drawn cases."""

from dataclasses import replace

import numpy as np
import rounding
from hypothesis import assume, given
from hypothesis import strategies as st
from rounding import assert_close, assert_same_bits
from strategies import rows_of_logits, seeds

from fastsoftmax import cross_entropy, log_softmax, logsumexp, softmax, softmax_cross_entropy

plain_rows = rows_of_logits(with_options=False)


def losses_and_gradients(case, logits=None, targets=None, **changed):
    """A loss and a gradient for every row, in float64."""
    losses, dlogits = softmax_cross_entropy(
        case.logits if logits is None else logits,
        case.targets if targets is None else targets,
        **case.options | {"reduction": "none"} | changed,
    )
    return losses, dlogits.astype(np.float64)


def bounds_of(case):
    """Of the losses and of the gradients of a case."""
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    of_losses = rounding.of_losses(log_p, case.weighted, case.dtype)
    return of_losses, rounding.of_dlogits(p, case.weighted, case.dtype)


@given(plain_rows)
def test_a_softmax_is_a_distribution(case):
    p = softmax(case.logits, **case.run)
    assert ((p >= 0) & (p <= 1)).all()
    # Terms and their total have the same errors: those of the additions and divisions are left.
    c, limits = case.n_classes, np.finfo(case.dtype)
    bound = (c + 2) * rounding.unit(case.dtype) + c * limits.tiny
    assert_close(p.astype(np.float64).sum(axis=1), np.ones(case.n_rows), bound)
    np.testing.assert_array_equal(p[np.isneginf(case.logits)], 0)


@given(plain_rows)
def test_a_softmax_keeps_the_order_of_the_logits(case):
    p = softmax(case.logits, **case.run)
    order = np.argsort(case.logits, axis=1, kind="stable")
    z, sorted_p = np.take_along_axis(case.logits, order, 1), np.take_along_axis(p, order, 1)
    bound = rounding.of_softmax(sorted_p.astype(np.float64), case.dtype)
    assert (np.diff(sorted_p, axis=1) >= -(bound[:, 1:] + bound[:, :-1])).all()
    # Equal logits have equal probabilities, wherever they are in a row.
    np.testing.assert_array_equal(np.diff(sorted_p, axis=1)[z[:, 1:] == z[:, :-1]], 0)


@given(plain_rows)
def test_log_softmax_is_the_logarithm_of_softmax(case):
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    assert (log_p <= 0).all()
    normal = p >= np.finfo(case.dtype).tiny / np.finfo(case.dtype).eps
    relative = rounding.of_softmax(p, case.dtype)[normal] / p[normal]
    assume((relative < 0.5).all())
    bound = rounding.of_log_softmax(log_p, case.dtype)[normal] - np.log1p(-relative)
    assert_close(log_p[normal], np.log(p[normal]), bound)


@given(plain_rows)
def test_a_logsumexp_lies_between_the_maximum_and_the_maximum_plus_log_n(case):
    lse = logsumexp(case.logits, **case.run).astype(np.float64)
    largest = case.logits.max(axis=1).astype(np.float64)
    counted = np.isfinite(case.logits).sum(axis=1)
    bound = rounding.of_logsumexp(lse, case.n_classes, case.dtype)
    assert (lse >= largest - bound).all()
    assert (lse <= largest + np.log(counted) + bound).all()
    log_p = log_softmax(case.logits, **case.run).astype(np.float64)
    of_log = rounding.of_log_softmax(log_p, case.dtype)
    assert_close(
        case.logits.astype(np.float64) - lse[:, np.newaxis], log_p, of_log + bound[:, None]
    )


@given(plain_rows, st.sampled_from((0.0, 1.0, -3.25, 1000.0, 1e4, -1e4)))
def test_a_shift_of_the_logits_changes_no_probability(case, shift):
    moved = case.logits + case.logits.dtype.type(shift)
    # What the addition has rounded is an error of the logits; with numbers and shifts of few digits 0.
    exact = case.logits.astype(np.longdouble) + shift
    finite = np.isfinite(case.logits)
    errors = np.abs(np.subtract(moved, exact, where=finite, out=np.zeros_like(exact)))
    of_logits = errors.max(axis=1, keepdims=True).astype(np.float64)
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    bound = 2 * rounding.of_softmax(p, case.dtype, of_logits)
    assert_close(softmax(moved, **case.run), p, bound)
    bound = 2 * rounding.of_log_softmax(log_p, case.dtype, of_logits)
    assert_close(log_softmax(moved, **case.run), log_p, bound)
    lse = logsumexp(case.logits, **case.run).astype(np.float64)
    again = logsumexp(moved, **case.run).astype(np.float64)
    of_lse = (
        rounding.of_logsumexp(size, case.n_classes, case.dtype, of_logits[:, 0])
        for size in (lse, again)
    )
    # The sum here is rounded as well.
    assert_close(again, lse + shift, sum(of_lse) + rounding.DOUBLE * np.abs(again))


@given(rows_of_logits(), seeds)
def test_classes_in_another_order(case, seed):
    order = np.random.default_rng(seed).permutation(case.n_classes)
    targets = case.targets
    moved_labels = np.argsort(order)
    targets = targets[:, order] if case.soft else np.where(targets < 0, -1, moved_labels[targets])
    weight = case.class_weight
    weight = None if weight is None else weight[order]
    losses, dlogits = losses_and_gradients(case)
    again, moved = losses_and_gradients(case, case.logits[:, order], targets, class_weight=weight)
    of_losses, of_dlogits = bounds_of(case)
    assert_close(again, losses, 2 * of_losses)
    assert_close(moved, dlogits[:, order], 2 * of_dlogits[:, order])
    p = softmax(case.logits, **case.run).astype(np.float64)[:, order]
    bound = 2 * rounding.of_softmax(p, case.dtype)
    assert_close(softmax(case.logits[:, order], **case.run), p, bound)


@given(rows_of_logits(), seeds)
def test_a_row_does_not_depend_on_the_others(case, seed):
    """Some rows in another order, some twice and some not at all: the same numbers, bit by bit."""
    chosen = np.random.default_rng(seed).integers(case.n_rows, size=case.n_rows)
    weight = case.sample_weight
    weight = None if weight is None else weight[chosen]
    options = case.options | {"reduction": "none"}
    losses, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    options["sample_weight"] = weight
    few = softmax_cross_entropy(case.logits[chosen], case.targets[chosen], **options)
    assert_same_bits(few[0], losses[chosen])
    assert_same_bits(few[1], dlogits[chosen])
    for function in (softmax, log_softmax, logsumexp):
        whole = function(case.logits, **case.run)
        assert_same_bits(function(case.logits[chosen], **case.run), whole[chosen])


@given(rows_of_logits())
def test_losses_are_not_negative_and_gradients_sum_to_zero(case):
    losses, dlogits = losses_and_gradients(case)
    of_losses, of_dlogits = bounds_of(case)
    assert (losses >= 0).all()
    mass = case.weighted.sum(axis=1)
    # Of mass * p and the targets, which have the same sum, the roundings are left.
    assert (np.abs(dlogits.sum(axis=1)) <= of_dlogits.sum(axis=1)).all()
    assert (dlogits <= mass[:, np.newaxis] + of_dlogits).all()
    assert (dlogits >= -case.weighted - of_dlogits).all()
    p = softmax(case.logits, **case.run).astype(np.float64)
    assert_close(dlogits, mass[:, np.newaxis] * p - case.weighted, 2 * of_dlogits)
    log_p = log_softmax(case.logits, **case.run).astype(np.float64)
    finite = np.where(case.weighted > 0, log_p, 0)  # 0 * log(0) is 0
    assert_close(losses, -(case.weighted * finite).sum(axis=1), 2 * of_losses)


@given(rows_of_logits())
def test_the_mean_and_the_sum_are_those_of_the_rows(case):
    losses, of_rows = losses_and_gradients(case)
    _, of_dlogits = bounds_of(case)
    bound = len(losses) * rounding.DOUBLE * losses.sum()
    for reduction, total in (("sum", 1.0), ("mean", case.total)):
        options = case.options | {"reduction": reduction}
        loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
        # The total is a sum of quarters times eighths, and exact; the division rounds once more.
        assert_close(
            loss, losses.sum() / total, (2 * bound + 2 * rounding.DOUBLE * losses.sum()) / total
        )
        assert_close(dlogits, of_rows / total, 2 * of_dlogits / total)


@given(rows_of_logits())
def test_labels_are_probabilities_of_one_class(case):
    case = replace(case, soft=False, ignored=False)
    one_hot = np.eye(case.n_classes, dtype=case.dtype)[case.labels]
    losses, dlogits = losses_and_gradients(case)
    again, same = losses_and_gradients(case, targets=one_hot)
    of_losses, of_dlogits = bounds_of(case)
    assert_close(again, losses, 2 * of_losses)
    assert_close(same, dlogits, 2 * of_dlogits)


@given(rows_of_logits())
def test_smoothing_mixes_the_targets_with_a_uniform_one(case):
    case = replace(case, masked=False, ignored=False)
    one = replace(case, smoothing=0.0)
    even = np.full(case.shape, 1 / case.n_classes, case.dtype)
    losses, dlogits = losses_and_gradients(case)
    sharp, of_sharp = losses_and_gradients(one)
    uniform, of_uniform = losses_and_gradients(one, targets=even)
    e = case.smoothing
    # Each is within its own bound; the targets of the three add up.
    of_losses, of_dlogits = bounds_of(case)
    mixed = (1 - e) * sharp + e * uniform
    assert_close(losses, mixed, 4 * of_losses)
    assert_close(dlogits, (1 - e) * of_sharp + e * of_uniform, 4 * of_dlogits)


@given(rows_of_logits())
def test_a_class_weight_is_a_weight_of_the_rows_of_the_class(case):
    case = replace(case, soft=False, class_weights=True, smoothing=0.0)
    of_rows = case.class_weight[case.labels]
    if case.sample_weight is not None:
        of_rows = of_rows * case.sample_weight
    of_losses, of_dlogits = bounds_of(case)
    for reduction, total in (("sum", 1.0), ("mean", case.total)):
        options = case.options | {"reduction": reduction}
        loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
        options |= {"class_weight": None, "sample_weight": of_rows}
        again, same = softmax_cross_entropy(case.logits, case.targets, **options)
        bound = rounding.of_sum(np.full(case.n_rows, loss), of_losses)
        assert_close(again, loss, 2 * (bound + 2 * rounding.DOUBLE * loss) / total)
        assert_close(same, dlogits, 2 * of_dlogits / total)


@given(rows_of_logits(), st.sampled_from((2.0**-20, 0.5, 4.0, 2.0**30)))
def test_a_factor_of_all_weights_leaves_the_mean(case, factor):
    """A power of 2, which rounds nothing: not a bit changes."""
    case = replace(case, row_weights=True)
    loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **case.options)
    options = case.options | {"sample_weight": factor * case.sample_weight}
    again, same = softmax_cross_entropy(case.logits, case.targets, **options)
    if case.total == 0:
        assert np.isnan(loss)
        assert np.isnan(again)
        return
    assert again == loss
    tiny = np.finfo(case.dtype).tiny * 2**30  # below which a power of 2 does round
    large = np.abs(dlogits) >= tiny
    np.testing.assert_array_equal(same[large], dlogits[large])
    assert_close(same, dlogits, tiny)


@given(rows_of_logits())
def test_a_weight_is_so_many_copies(case):
    case = replace(case, row_weights=True)
    copies = np.repeat(np.arange(case.n_rows), (4 * case.sample_weight).astype(int))
    options = case.options | {"reduction": "sum"}
    loss, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    of_copies, of_each = softmax_cross_entropy(
        case.logits[copies], case.targets[copies], **options | {"sample_weight": None}
    )
    of_losses, of_dlogits = bounds_of(case)
    bound = 2 * (of_losses.sum() + (len(copies) + 2) * rounding.DOUBLE * loss)
    assert_close(of_copies / 4, loss, bound)
    summed = np.zeros(case.shape)
    np.add.at(summed, copies, of_each.astype(np.float64) / 4)
    assert_close(summed, dlogits, 2 * of_dlogits + np.finfo(case.dtype).tiny)


@given(rows_of_logits())
def test_rows_that_do_not_count_might_as_well_not_be_there(case):
    """Ignored, of weight 0, or gone: the same losses and gradients, bit by bit."""
    case = replace(case, soft=False, ignored=True)
    gone = case.ignored_rows
    s = np.ones(case.n_rows) if case.sample_weight is None else case.sample_weight
    options = case.options | {"reduction": "none", "sample_weight": s}
    losses, dlogits = softmax_cross_entropy(case.logits, case.targets, **options)
    np.testing.assert_array_equal(losses[gone], 0)
    np.testing.assert_array_equal(dlogits[gone], 0)
    ignored = softmax_cross_entropy(
        case.logits[~gone], case.targets[~gone], **options | {"sample_weight": s[~gone]}
    )
    zero = options | {"sample_weight": np.where(gone, 0, s), "ignore_index": None}
    weighted = softmax_cross_entropy(case.logits, case.labels, **zero)
    for ours, there, of_zero in zip((losses, dlogits), ignored, weighted, strict=True):
        np.testing.assert_array_equal(there, ours[~gone])
        np.testing.assert_array_equal(of_zero, ours)


@given(plain_rows)
def test_equal_logits_share_out_evenly(case):
    """Whatever they are equal to: 1 / n each, and a loss of log(n)."""
    case = replace(case, family="equal", masked=False, soft=False)
    n_classes, dtype = case.n_classes, case.dtype
    p = softmax(case.logits, **case.run)
    assert_close(p, np.full(case.shape, 1 / n_classes), rounding.of_softmax(p.astype("f8"), dtype))
    losses, _ = losses_and_gradients(case)
    even = np.full(case.shape, -np.log(n_classes))
    assert_close(losses, -even[:, 0], rounding.of_losses(even, case.weighted, dtype))


plain_problems = rows_of_logits(most_exponent=2)


@given(plain_problems, st.sampled_from((-3, 1, 4)))
def test_a_temperature_is_a_division_of_the_logits(case, power):
    factor = np.array(2.0**power, case.dtype)  # a power of 2, which is exact
    losses, dlogits = losses_and_gradients(case, temperature=float(factor))
    expected, gradient = losses_and_gradients(case, case.logits / factor)
    # Weighted targets may be rounded once more.
    u, mass = 4 * rounding.unit(case.dtype), case.weighted.sum(axis=1, keepdims=True)
    assert_close(losses, expected, u * expected)
    smallest = float(np.finfo(case.dtype).tiny)
    assert_close(dlogits, gradient / float(factor), (u * mass + smallest) / float(factor))


@given(plain_problems, seeds)
def test_masked_classes_are_not_read(case, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(case.shape) < 0.7
    mask[np.arange(case.n_rows), case.labels] = True
    logits = np.where(mask, case.logits, rng.choice([np.nan, np.inf, -np.inf, 1e30], case.shape))
    logits = logits.astype(case.dtype)
    losses, dlogits = losses_and_gradients(case, mask=mask)
    again, gradient = losses_and_gradients(case, logits, mask=mask)
    np.testing.assert_array_equal(again, losses)
    np.testing.assert_array_equal(gradient, dlogits)
    assert not dlogits[~mask].any()


@given(plain_problems, st.sampled_from((0.5, 4.0, 30.0)))
def test_a_softcap_bounds_the_loss(case, softcap):
    assume(not case.masked)
    losses, dlogits = losses_and_gradients(case, softcap=softcap)
    mass = case.weighted.sum(axis=1)
    most = mass * (np.log(case.n_classes) + 2 * softcap)
    rounded = 1 + 8 * case.n_classes * rounding.unit(case.dtype)
    assert ((losses >= 0) & (losses <= most * rounded)).all()
    assert (np.abs(dlogits) <= mass[:, np.newaxis] * rounded).all()


@given(plain_problems, st.sampled_from((0.25, 1e-3)))
def test_z_loss_adds_the_square_of_the_log_sum_exp(case, z_loss):
    losses, dlogits = losses_and_gradients(case)
    more, gradient, lse = softmax_cross_entropy(
        case.logits, case.targets, **case.options, reduction="none", z_loss=z_loss, return_lse=True
    )
    mass = case.weighted.sum(axis=1)
    added = mass * z_loss * lse**2
    assert_close(more, losses + added, 8 * rounding.unit(case.dtype) * (losses + added))
    counts = mass > 0
    exact = logsumexp(case.logits.astype(np.float64))
    assert_close(
        lse[counts], exact[counts], 8 * rounding.unit(case.dtype) * (1 + np.abs(exact[counts]))
    )
    np.testing.assert_array_equal(lse[~counts], 0)
    p = softmax(case.logits, **case.run).astype(np.float64)
    share = (2 * z_loss * lse * mass)[:, np.newaxis] * p
    # A difference of logits is rounded before its exponential is taken.
    spread = 1 + np.ptp(np.where(np.isinf(case.logits), 0, case.logits), axis=1, keepdims=True)
    of_p = 8 * rounding.unit(case.dtype) * spread * np.abs(share)
    bound = 2 * bounds_of(case)[1] + of_p + 4 * rounding.unit(case.dtype) * np.abs(dlogits)
    assert_close(gradient.astype(np.float64), dlogits + share, bound)


def metrics_of(case, *names, **changed):
    _, metrics = cross_entropy(
        case.logits, case.targets, **case.options | {"metrics": names} | changed
    )
    return metrics


@given(rows_of_logits())
def test_the_argmax_is_the_first_largest_logit(case):
    counts = case.weighted.any(axis=1)
    found = metrics_of(case, "argmax").argmax
    np.testing.assert_array_equal(found, np.where(counts, case.logits.argmax(axis=1), -1))


@given(rows_of_logits(), st.integers(1, 8), seeds)
def test_a_label_is_among_k_if_fewer_than_k_are_larger(case, top_k, seed):
    """In whatever order the classes are; with every k but the first all that were correct before."""
    case = replace(case, soft=False)
    order = np.random.default_rng(seed).permutation(case.n_classes)
    found = metrics_of(case, "top_k_correct", top_k=top_k).top_k_correct
    moved = np.where(case.targets < 0, -1, np.argsort(order)[case.labels])
    weight = None if case.class_weight is None else case.class_weight[order]
    changed = {"metrics": ("top_k_correct",), "top_k": top_k, "class_weight": weight}
    _, again = cross_entropy(case.logits[:, order], moved, **case.options | changed)
    np.testing.assert_array_equal(again.top_k_correct, found)
    scores = case.logits[np.arange(case.n_rows), case.labels][:, np.newaxis]
    expected = (case.logits > scores).sum(axis=1) < top_k
    np.testing.assert_array_equal(found, expected & case.weighted.any(axis=1))


@given(rows_of_logits())
def test_a_label_log_prob_is_that_of_log_softmax_and_of_the_loss(case):
    case = replace(case, soft=False)
    counts = case.weighted.any(axis=1)
    found = metrics_of(case, "label_log_prob").label_log_prob
    log_p = log_softmax(case.logits, **case.run).astype(np.float64)
    at = np.arange(case.n_rows), case.labels
    bound = 2 * rounding.of_log_softmax(log_p, case.dtype)[at]
    assert_close(found[counts], log_p[at][counts], bound[counts])
    np.testing.assert_array_equal(found[~counts], 0)
    assert (found <= 0).all()
    plain = replace(case, row_weights=False, class_weights=False, smoothing=0.0, ignored=False)
    losses, _ = losses_and_gradients(plain)
    again = metrics_of(plain, "label_log_prob").label_log_prob
    assert_close(again, -losses, 2 * rounding.of_losses(log_p, plain.weighted, plain.dtype))


@given(rows_of_logits())
def test_an_entropy_is_the_mean_surprise(case):
    counts = case.weighted.any(axis=1)
    found = metrics_of(case, "entropy").entropy
    np.testing.assert_array_equal(found[~counts], 0)
    assert (found >= 0).all()
    n_left = np.isfinite(case.logits).sum(axis=1)
    assert (found <= np.log(n_left) * (1 + 8 * rounding.unit(case.dtype))).all()
    p, log_p = (f(case.logits, **case.run).astype(np.float64) for f in (softmax, log_softmax))
    finite = np.where(p > 0, log_p, 0)
    expected = -(p * finite).sum(axis=1)
    of_p = rounding.of_softmax(p, case.dtype) * (1 + np.abs(finite))
    bound = (2 * of_p + p * rounding.of_log_softmax(log_p, case.dtype)).sum(axis=1)
    bound += (case.n_classes + 4) * rounding.DOUBLE * expected
    assert_close(found[counts], expected[counts], bound[counts] + rounding.unit(case.dtype) ** 2)
