"""Bugs planted one by one in the kernels and the training loop, in a copy of the tree: do tests notice?

    python tests/builds/mutants.py [OPTION OF PYTEST...] [NAME...]

With `--quick=always` it says what `make test` finds, with `--pairs` what `make test-all` does. Each is
compiled and tested by itself, which takes minutes, until the first test fails. Prints which one that is;
the exit code is 1 where a bug was not found, or where the code it changes is no longer there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPY = ROOT / "build" / "mutants"
# The core on one backend or as few as a test has, quick ones first.
TESTS = [
    "tests/backends/test_kernels.py",
    "tests/backends/test_penalty.py",
    "tests/loss/test_loss.py",
    "tests/loss/test_linear.py",
    "tests/loss/test_loss_options.py",
    "tests/training/test_weights.py",
    "tests/training/test_epoch.py",
    "tests/training/test_schedules.py",
    "tests/backends/test_shuffling.py",
    "tests/training/test_sparse_training.py",
    "tests/training/test_prediction.py",
    "tests/classifier/test_grid_search.py",
    "tests/training/test_loop.py",
    "tests/training/test_solver.py",
    "tests/training/test_properties_of_solver.py",
    "tests/training/test_standardization.py",
    "tests/training/test_interruption.py",
    "tests/backends/test_instruction_sets.py",
    "tests/backends/test_processes.py",
    "tests/backends/test_float_state.py",
    "tests/classifier/test_evaluation.py",
    "tests/classifier/test_calibration.py",
]
SELECTION = "not naive and not numba"
SECONDS_OF_A_TEST = 200


class Mutant(NamedTuple):
    """A bug: `old`, which the file has just once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "losses whose logarithms are joined without the product",
        "csrc/kernels/step_panels.h",
        "y[i] = (y[i] + y[i + half]) + y[i] * y[i + half];",
        "y[i] = y[i] + y[i + half];",
    ),
    Mutant(
        "an off-by-one at the tail of a row",
        "csrc/kernels/softmax.h",
        "terms[i] = exponential(load_up_to(z + at, left, MINUS_INFINITY), shift);",
        "terms[i] = exponential(load_up_to(z + at, left ? left - 1 : 0, MINUS_INFINITY), shift);",
    ),
    Mutant(
        "the first terms of a row that begins anew stay as they are",
        "csrc/kernels/softmax.h",
        "store(e + k, mul(mul(load(e + k), first), second));",
        "store(e + k, load(e + k));",
    ),
    Mutant(
        "a coefficient of the exponential",
        "csrc/kernels/exp_log.h",
        "0x1.5558f2p-5f,",
        "0x1.5458f2p-5f,",
    ),
    Mutant(
        "a stale loss of the last row of a block",
        "csrc/kernels/softmax_transposed.h",
        "        losses[i] = row_losses[i];\n        n_invalid",
        "        if (n_rows < LANES || i + 1 < n_rows) losses[i] = row_losses[i];\n        n_invalid",
    ),
    Mutant(
        "a gradient that does not leave out the label",
        "csrc/kernels/softmax_transposed.h",
        "store(columns[k], select_equal(label, broadcast((real)k), label_gradient, gradient));",
        "store(columns[k], gradient); (void)label_gradient;",
    ),
    Mutant(
        "the wrong lane where a block has more rows than the kernel takes at once",
        "csrc/kernels/step_panels.h",
        "real *z = scores + block * n_classes + lane;",
        "real *z = scores + block * n_classes + (lane ^ (lane >= 4));",
    ),
    Mutant(
        "a panel's scores left out of the sum",
        "csrc/kernels/step_panels.h",
        "for (size_t panel = 1; panel < scores->n_parts; ++panel) {",
        "for (size_t panel = 1; panel + 1 < scores->n_parts; ++panel) {",
    ),
    Mutant(
        "a dropped L2 penalty",
        "csrc/kernels/sgd_update.h",
        "gradient = fmadd(step->twice_l2, w, gradient);",
        "",
    ),
    Mutant(
        "Nesterov's momentum is the usual one",
        "csrc/kernels/sgd_update.h",
        "if (!step->nesterov) return add(w, v);",
        "return add(w, v);",
    ),
    Mutant(
        "the last slab of classes scored with the weights of the one before",
        "csrc/kernels/step_packed.h",
        "    if (k < n_classes) SLABS_OF(1);\n#undef SLABS_OF\n}\n\n/* Kernel: copy rows",
        "    if (k < n_classes) w -= k ? slab_stride : 0;\n    if (k < n_classes) SLABS_OF(1);\n"
        "#undef SLABS_OF\n}\n\n/* Kernel: copy rows",
    ),
    Mutant(
        "a gradient that forgets the block before",
        "csrc/kernels/step_short_rows.h",
        "sums[t][k] = add_to_out ? load(sum) : broadcast(0);",
        "sums[t][k] = broadcast(0); (void)sum; (void)add_to_out;",
    ),
    Mutant(
        "a sparse weight that has caught up is not marked so",
        "csrc/kernels/step_sparse.h",
        "            slab->steps[j] = (uint32_t)weights->now;\n",
        "",
    ),
    Mutant(
        "the steps that a sparse velocity has missed come in another order",
        "csrc/kernels/step_sparse.h",
        "map = compose_maps(weights->maps + 2 * first + length - 1, &map);",
        "map = compose_maps(&map, weights->maps + 2 * first + length - 1);",
    ),
    Mutant(
        "the mean of another feature",
        "csrc/kernels/convert.h",
        "    if (mean) mean += first;\n",
        "",
    ),
    Mutant(
        "a missing barrier: a loop ends with a chunk unfinished",
        "csrc/runtime/thread_pool.c",
        "if (atomic_load(&pool->unfinished)) wait_for_workers(pool);",
        "if (atomic_load(&pool->unfinished) > 1) wait_for_workers(pool);",
    ),
    Mutant(
        "workers pinned as the process was when they started",
        "csrc/runtime/thread_pool.c",
        "if (pool->n_workers == before && platform_same_cpus(&cpus, &pool->cpus)) return;",
        "if (pool->n_workers == before) return;",
    ),
    Mutant(
        "a lost wake-up",
        "csrc/runtime/thread_pool.c",
        "if (atomic_load(&pool->sleeping_workers)) wake",
        "if (atomic_load(&pool->sleeping_workers) > 1) wake",
    ),
    Mutant(
        "the first features of x for the gradient of all of them, with many classes",
        "fastsoftmax/backends/compiled/linear_loss_packed.pxi",
        "x += some // lanes * slab_size",
        "x += 0 * slab_size",
    ),
    Mutant(
        "a woken worker that stays away from the CPU of its caller",
        "csrc/runtime/thread_pool.c",
        "if (own->is_away) platform_allow_cpus",
        "if (0) platform_allow_cpus",
    ),
    Mutant(
        "the mean of a last, smaller minibatch taken over a whole one",
        "fastsoftmax/backends/compiled/step_algorithm.pxi",
        "m.scale = 1.0 / batch.n",
        "m.scale = 1.0 / e.batch_size",
    ),
    Mutant(
        "the rate of the step before",
        "fastsoftmax/backends/compiled/step_panels.pxi",
        "e.rule.rate = e.rates[step]",
        "e.rule.rate = e.rates[step - 1 if step else 0]",
    ),
    Mutant(
        "a step taken though its loss is not finite",
        "fastsoftmax/backends/compiled/step_packed.pxi",
        "if p.has_models or isfinite(loss):",
        "if True:",
    ),
    Mutant(
        "rows after the first block do not count for dW",
        "fastsoftmax/backends/compiled/linear_loss.pxi",
        "gradients.add = block > 0",
        "gradients.add = False",
    ),
    Mutant(
        "weights of the rows of the first chunk for all chunks",
        "fastsoftmax/backends/compiled/_core.pyx",
        "        shifted.weights.rows += first\n",
        "        shifted.weights.rows += 0\n",
    ),
    Mutant(
        "a shuffle that leaves no sample in its place",
        "fastsoftmax/backends/compiled/epoch.pxi",
        "(numbers[i - begin] * <double>(i + 1))",
        "(numbers[i - begin] * <double>i)",
    ),
    Mutant(
        "a step for a mean over one sample too many, in NumPy",
        "fastsoftmax/backends/vectorized_epoch.py",
        "(-rate if self.is_plain else 1.0) / size",
        "(-rate if self.is_plain else 1.0) / (size + 1)",
    ),
    Mutant(
        "the weights of other rows",
        "fastsoftmax/backends/minibatches.py",
        "weights._replace(rows=weights.rows[rows])",
        "weights._replace(rows=weights.rows[: len(rows)])",
    ),
    Mutant(
        "an L1 penalty that forgets the rate",
        "fastsoftmax/backends/minibatches.py",
        "penalties.soft_threshold(coef, rate * rule.l1)",
        "penalties.soft_threshold(coef, rule.l1)",
    ),
    Mutant(
        "a label that keeps all of its mass when it is smoothed",
        "fastsoftmax/backends/sample_weights.py",
        "    t *= 1 - weights.smoothing\n",
        "",
    ),
    Mutant(
        "a bound that forgets what the intercept costs",
        "fastsoftmax/backends/compiled/solver_vectors.pxi",
        "        (1 - share) * (terms.of_slopes + of_intercept) + share * (loss - entropy))\n",
        "        (1 - share) * (terms.of_slopes + of_intercept))\n",
    ),
    Mutant(
        "the pseudo-gradient of a weight that is not 0",
        "fastsoftmax/training/lbfgs.py",
        "g + scaled(np.sign(W), self.l1), shrunk)",
        "g, shrunk)",
    ),
    Mutant(
        "the mean of a gradient over one row less",
        "fastsoftmax/training/objective.py",
        "        gradient /= len(self)\n",
        "        gradient /= len(self) - 1\n",
    ),
    Mutant(
        "a positive weight that L1 does not shrink",
        "fastsoftmax/backends/compiled/coordinate_descent.pxi",
        "step = unshrunk - threshold",
        "step = unshrunk",
    ),
    Mutant(
        "a dual point of L1 that is not scaled to be feasible",
        "fastsoftmax/training/duality_gap.py",
        "1.0 if largest <= self.l1 else self.l1 / largest",
        "1.0",
    ),
    Mutant(
        "a bound with targets that are not smoothed",
        "fastsoftmax/training/objective.py",
        "            t = (1 - weights.smoothing) * t + weights.smoothing / n_classes\n",
        "            pass\n",
    ),
    Mutant(
        "a bound in float32 that ends a fit",
        "fastsoftmax/training/solver_run.py",
        "        if gap is None or point.weights.dtype == np.float64:\n",
        "        if gap is None or point.weights.dtype != object:\n",
    ),
    Mutant(
        "a fit that stands still while only its bound in float32 meets tol",
        "fastsoftmax/training/solver_run.py",
        "if not self.meets_tol() or self._waits_for_next_check():",
        "if not self.meets_tol():",
    ),
    Mutant(
        "steps of the intercept that keep the curvature of some rows",
        "fastsoftmax/training/solver_run.py",
        "        self._precondition(objective.class_curvature(nearer.weights, n_rows))\n",
        "",
    ),
    Mutant(
        "half of the gradient of L2",
        "fastsoftmax/backends/penalties.py",
        "W * W.dtype.type(2.0 * l2)",
        "W * W.dtype.type(l2)",
    ),
    Mutant(
        "samples of weight 0 that count where all others weigh the same",
        "fastsoftmax/classifier/evaluation.py",
        "    weights = np.zeros(n_samples)\n",
        "    weights = np.ones(n_samples)\n",
    ),
    Mutant(
        "resamples of weights that are 0 next to the largest",
        "fastsoftmax/classifier/evaluation.py",
        "    counted = weights > 0 ",
        "    counted = slice(None) if targets.rows is None else targets.rows ",
    ),
    Mutant(
        "a label that is one place below the best k",
        "fastsoftmax/classifier/evaluation.py",
        "is_before.sum(axis=1) < top_k",
        "is_before.sum(axis=1) <= top_k",
    ),
    Mutant(
        "equal probabilities whose first class is the best",
        "fastsoftmax/classifier/evaluation.py",
        "np.arange(logarithms.shape[1]) > targets[:, np.newaxis]",
        "np.arange(logarithms.shape[1]) < targets[:, np.newaxis]",
    ),
    Mutant(
        "a confidence on the edge of two bins in the upper one",
        "fastsoftmax/classifier/evaluation.py",
        "np.searchsorted(edges[1:-1], samples.confidences)",
        'np.searchsorted(edges[1:-1], samples.confidences, side="right")',
    ),
    Mutant(
        "a calibration error in which every bin counts the same",
        "fastsoftmax/classifier/evaluation.py",
        'np.average(gaps, weights=[row["n_samples"] for row in filled])',
        "np.average(gaps)",
    ),
    Mutant(
        "a precision that is divided by the samples of the class",
        "fastsoftmax/classifier/evaluation.py",
        "ratios(right, said), recalls",
        "ratios(right, mass), recalls",
    ),
    Mutant(
        "a confusion matrix whose rows are the predictions",
        "fastsoftmax/classifier/evaluation.py",
        "targets.values * n_classes + samples.predicted",
        "samples.predicted * n_classes + targets.values",
    ),
    Mutant(
        "an interval of the wrong level",
        "fastsoftmax/classifier/evaluation.py",
        "[(1 - level) / 2, (1 + level) / 2]",
        "[1 - level, level]",
    ),
    Mutant(
        "samples drawn without the weights of the drawn ones",
        "fastsoftmax/classifier/evaluation.py",
        "sums[drawn].sum() / mass[drawn].sum()",
        "sums[drawn].sum() / mass.sum()",
    ),
    Mutant(
        "logits of the rows that count next to the targets of all",
        "fastsoftmax/training/calibration.py",
        "t = targets.values[rows[here]]",
        "t = targets.values[here]",
    ),
    Mutant(
        "a temperature from the weights of other rows",
        "fastsoftmax/training/calibration.py",
        "targets.weights[rows[here]]",
        "targets.weights[here]",
    ),
    Mutant(
        "the inverse of the temperature",
        "fastsoftmax/training/calibration.py",
        "return 1 / _root(derivatives, at_zero)",
        "return _root(derivatives, at_zero)",
    ),
    Mutant(
        "a bracket of which the wrong end moves",
        "fastsoftmax/training/calibration.py",
        "(b, high) if at.slope < 0 else (low, b)",
        "(low, b) if at.slope < 0 else (b, high)",
    ),
    Mutant(
        "a temperature for samples that are all predicted correctly",
        "fastsoftmax/training/calibration.py",
        "if at_zero.limit <= 0:",
        "if at_zero.limit < 0:",
    ),
    Mutant(
        "a temperature that is fitted to four digits",
        "fastsoftmax/training/calibration.py",
        "_TOLERANCE = 1e-10",
        "_TOLERANCE = 1e-2",
    ),
    Mutant(
        "probabilities without the temperature",
        "fastsoftmax/classifier/prediction_methods.py",
        '"temperature": now.temperature_,',
        '"temperature": 1.0,',
    ),
]


def copy_of_the_tree():
    """Make COPY hold the files of git as they are now, whatever a run that was killed has left there.

    What has been compiled there stays, and is compiled again where its source has changed.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = listed.stdout.decode().rstrip("\0").split("\0")
    for path in [*COPY.rglob("*.h"), *COPY.rglob("*.p[xy]*"), *COPY.rglob("*.sh")]:
        if path.relative_to(COPY).as_posix() not in names:
            path.unlink()
    for name in names:
        target = COPY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != (ROOT / name).read_bytes():
            shutil.copyfile(ROOT / name, target)


def run(*command, **environment):
    """Exit code and output, of a process in the copy."""
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=COPY,
        env={**os.environ, "PYTHONPATH": str(COPY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ran.returncode, ran.stdout


def compile_copy():
    code, output = run("setup.py", "-q", "build_ext", "--inplace", FASTSOFTMAX_BUILD="debug")
    if code:
        sys.exit(f"{output}\nmutants: this could not be compiled")


def failing_test(options):
    """The first test that fails, or None."""
    _, output = run(
        *("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"--timeout={SECONDS_OF_A_TEST}"),
        *("--timeout-method=thread", "-k", SELECTION, *options, *TESTS),
    )
    found = re.search(r"^(?:FAILED|ERROR) (\S.*?)(?: - |$)", output, re.MULTILINE)
    if found:
        return found[1]
    if " passed" in output.splitlines()[-1] and "failed" not in output.splitlines()[-1]:
        return None
    # The process itself ended: a crash, or a test that hung.
    where = re.search(r"File \"\S*/(tests/\S+)\", line \d+,? in (test_\w+)", output)
    return f"{where[1]}::{where[2]} (hung or crashed)" if where else "the test process ended"


def test_mutant(mutant, options):
    path = COPY / mutant.file
    source = path.read_text()
    if source.count(mutant.old) != 1:
        print(f"{mutant.name}: {mutant.file} has {source.count(mutant.old)} of: {mutant.old}")
        return False
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        if not mutant.file.endswith(".py"):
            compile_copy()
        found = failing_test(options)
    finally:
        path.write_text(source)
    print(f"{mutant.name} ({mutant.file}): {found or 'NOT FOUND'}", flush=True)
    return found is not None


def main(arguments):
    options = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments if not word.startswith("-")]
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.exit(f"mutants: no such one: {', '.join(sorted(unknown))}")
    copy_of_the_tree()
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    compile_copy()
    unchanged = failing_test(options)
    if unchanged:
        sys.exit(f"mutants: without any of them, there fails {unchanged}")
    n_found = sum([test_mutant(mutant, options) for mutant in chosen])
    print(f"{n_found} of {len(chosen)} were found")
    return 0 if n_found == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
