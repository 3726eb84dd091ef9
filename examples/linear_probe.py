"""A linear probe: a softmax classifier on the embeddings of a frozen network, more than memory holds.

    python examples/linear_probe.py --embeddings X.npy --labels y.npy --model probe.npz

`X.npy` has a row for each sample, best in float16, and stays on disk; `y.npy` has their labels. Strengths
of the penalty are compared on a tenth of the training rows, and the best model goes on with all of them.
Its top-1, top-5 and per-class accuracy are measured on rows that have no part in this: those of `--test`,
or a tenth of `X.npy`. All scores are in `probe.json`.

A command that was interrupted continues when it is given again, from the last strength that was done, or
within the last training. To try it, `--make-up 20000 128 50` first
writes embeddings of that many samples, features and classes. docs/linear-probe.md explains each step.
"""

import argparse
import json
import resource  # of Unix
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import fastsoftmax

STRENGTHS = [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5]
ROWS_PER_BLOCK = 4096


def parse_arguments():
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description="Train and evaluate a linear probe.")
    option = parser.add_argument
    option("--embeddings", type=Path, required=True, help="X.npy, (n_samples, n_features)")
    option("--labels", type=Path, required=True, help="y.npy, (n_samples,)")
    option("--model", type=Path, required=True, help="the model's file, and the name of the others")
    option("--test", type=Path, nargs=2, metavar=("X", "Y"), help="test samples and their labels")
    option("--strengths", type=float, nargs="+", default=STRENGTHS, help="values of alpha")
    option(
        "--make-up", type=int, nargs=3, metavar=("N", "D", "C"), help="write made-up files first"
    )
    options = parser.parse_args()
    if options.make_up and (options.embeddings.exists() or options.labels.exists()):
        parser.error("--make-up: --embeddings or --labels exists; leave it out to use them")
    return options


def make_up(n_samples, n_features, n_classes, embeddings, labels):
    """Write embeddings, a block at a time: classes and their variation have a low rank, plus noise."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((min(n_features, 32), n_features), np.float32)
    centres = 0.7 * rng.standard_normal((n_classes, len(directions)), np.float32)
    y = rng.integers(n_classes, size=n_samples)
    header = {"descr": "<f2", "fortran_order": False, "shape": (n_samples, n_features)}
    with embeddings.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n_samples, ROWS_PER_BLOCK):
            low_rank = centres[y[start : start + ROWS_PER_BLOCK]]
            low_rank += rng.standard_normal(low_rank.shape, np.float32)
            noise = rng.standard_normal((len(low_rank), n_features), np.float32)
            file.write((low_rank @ directions + noise).astype("<f2").tobytes())
    np.save(labels, y)


def tenth_of(y):
    """Return a tenth of the rows, of each class in proportion."""
    at_random = np.random.default_rng(0).random(len(y))
    return np.sort(np.lexsort((at_random, y))[5::10])


@contextmanager
def measured(title, n_samples, n_features, n_classes):
    """Print what begins, and at its end the time, the passes over the samples and the peak memory."""
    print(f"\n{title}")
    with fastsoftmax.profile() as p:
        yield
    text = f"{p.seconds:.1f} s"
    for part in p.parts:
        if part.name == "loss and gradient":
            rate = 4e-9 * n_samples * n_features * n_classes * part.calls / part.seconds
            text += f", of which {part.calls} passes {part.seconds:.1f} s ({rate:.1f} GFLOP/s)"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024  # there in bytes, elsewhere in KiB
    print(f"{text}; peak memory so far {peak / 2**20:.0f} MiB")


def search_strength(X, y, weights, strengths, identity, files):
    """Return the scores of each strength and the best model, from files if the same search wrote them."""
    report = {}
    if files["report"].exists():
        report = json.loads(files["report"].read_text("utf-8"))
    if report.get("identity") != identity:
        for name in ("path", "checkpoint"):
            files[name].unlink(missing_ok=True)
        report = {"identity": identity}
        write_report(report, files["report"])
    if "search" in report:
        print(f"was done before: {files['report']}")
        return report, fastsoftmax.load(files["searched"])
    has_bar = find_spec("rich") is not None and sys.stderr.isatty()
    found = fastsoftmax.search(
        *(X, y),
        sample_weight=weights,
        regs=strengths,
        validation=0.1,
        solver="lbfgs",
        standardize=True,
        tol=1e-2,  # enough to compare strengths
        patience=2,  # weaker penalties cost the most passes
        random_state=0,
        checkpoint=files["path"],
        resume=True,
        progress_bar=has_bar,
        verbose=not has_bar,
    )
    found.best_model.save(files["searched"])
    report["search"] = [row for row in found.rows() if row["score"] == row["score"]]  # not NaN
    for row in report["search"]:
        del row["learning_rate"]  # NaN: the solver has none
    write_report(report, files["report"])
    return report, found.best_model


def write_report(report, file):
    """Write the report beside the old one, and then replace that."""
    new = file.with_suffix(".json.new")
    new.write_text(json.dumps(report, indent=1), "utf-8")
    new.replace(file)


def print_search(rows):
    """Print the scores, which are sorted best first, from strong to weak penalties."""
    print("   alpha    top-1    top-5  log loss  of the validation rows")
    by_strength = sorted(rows, key=lambda row: -row["reg"])
    for row in by_strength:
        shares = f"{row['reg']:8.1e}  {row['score']:7.2%}  {row['top_5_accuracy']:7.2%}"
        print(f"{shares}  {row['validation_loss']:8.4f}{'  best' if row is rows[0] else ''}")
    if rows[0] in (by_strength[0], by_strength[-1]):
        print("The best strength is at an end: give --strengths beyond it.")


def evaluate(model, embeddings, y, rows):
    """Return the accuracies of the most probable class, of the best five, and of each class."""
    n_best = min(5, len(model.classes_))
    hits = np.empty((len(rows), n_best), bool)
    for start in range(0, len(rows), ROWS_PER_BLOCK):
        here = rows[start : start + ROWS_PER_BLOCK]
        X = np.load(embeddings, mmap_mode="r")[here]  # its pages go with this mapping of the file
        best = np.argpartition(-model.predict_proba(X), range(n_best), axis=1)[:, :n_best]
        hits[start : start + len(here)] = model.classes_[best] == y[here, np.newaxis]
    classes, codes = np.unique(y[rows], return_inverse=True)
    of_classes = np.bincount(codes, hits[:, 0]) / np.bincount(codes)
    return {
        "top_1": float(hits[:, 0].mean()),
        "top_5": float(hits.any(axis=1).mean()),
        "mean_of_classes": float(of_classes.mean()),
        "classes": dict(zip(map(str, classes), of_classes.tolist(), strict=True)),
    }


def main():
    """Search the strength, train with it, and evaluate."""
    options = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # each line is in a log as soon as it is printed
    if options.make_up:
        make_up(*options.make_up, options.embeddings, options.labels)
    suffixes = {"report": ".json", "searched": ".searched.npz", "path": ".path.npz"}
    suffixes["checkpoint"] = ".checkpoint.npz"
    files = {name: options.model.with_suffix(suffix) for name, suffix in suffixes.items()}
    X, y = np.load(options.embeddings, mmap_mode="r"), np.load(options.labels)
    if options.test is None:
        test_X, test_y, test_rows = options.embeddings, y, tenth_of(y)
        weights = np.ones(len(y))
        weights[test_rows] = 0  # not trained on, without a copy of the others
    else:
        test_X, test_y, weights = options.test[0], np.load(options.test[1]), None
        test_rows = np.arange(len(test_y))
    n_used = len(y) if weights is None else len(y) - len(test_rows)
    shape = X.shape[1], len(np.unique(y))
    print(
        f"{n_used} samples to train on, {len(test_rows)} to test; features: {shape[0]}, {X.dtype}"
    )
    print(f"classes: {shape[1]}; a pass has {4e-9 * n_used * shape[0] * shape[1]:.3g} GFLOP")

    identity = {"strengths": options.strengths, "tests_on_own_rows": weights is not None}
    for path in (options.embeddings, options.labels):
        identity[str(path)] = [path.stat().st_size, path.stat().st_mtime]
    with measured(f"Search among {len(options.strengths)} strengths", 0.9 * n_used, *shape):
        report, model = search_strength(X, y, weights, options.strengths, identity, files)
    print_search(report["search"])

    with measured(f"Training on {n_used} samples, alpha={model.alpha:g}", n_used, *shape):
        model.set_params(warm_start=True, tol=1e-3, verbose=1, progress_bar=False)
        model.fit(X, y, weights, checkpoint=files["checkpoint"], checkpoint_every=5, resume=True)
    model.save(options.model)

    with measured(f"Test on {len(test_rows)} samples", len(test_rows), *shape):
        report["test"] = test = evaluate(model, test_X, test_y, test_rows)
    write_report(report, files["report"])
    print(f"top-1 {test['top_1']:.2%}, top-5 {test['top_5']:.2%}; the hardest classes:")
    for label, accuracy in sorted(test["classes"].items(), key=lambda item: item[1])[:5]:
        print(f"  {label}: {accuracy:.1%}")
    print(f"The model is in {options.model}, all scores are in {files['report']}.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. The same command, without --make-up, goes on from what is saved.")
