"""`python -m benchmarks.tune NAME=VALUE`: what another threshold would cost, in time per epoch.

NAME is a threshold of csrc/kernels/tuning.h (or of thread_pool.c or platform.h in csrc/runtime), which is
changed in a copy of the tree that is built for this, or an environment variable: FASTSOFTMAX_STEP=packed
forces a step algorithm. Epochs with and without it take turns on the same data, with --predict predictions
of all samples, with --loss losses and gradients, and the ratio is that of the medians. Measure on a machine
that does nothing else.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from fastsoftmax.backends.compiled import instruction_set
from fastsoftmax.cli.timing import measure

_ROOT = Path(__file__).parents[1]
_BUILT_FROM = ("csrc", "fastsoftmax", "setup.py", "pyproject.toml", "README.md", "LICENSE")
_DEFINED_IN = (
    "csrc/kernels/tuning.h",
    "csrc/runtime/thread_pool.c",
    "csrc/runtime/platform.h",
)
# Trains for one epoch, predicts, or computes the loss, whenever a line comes.
_WORKER = """
import json, sys
import numpy as np
from fastsoftmax import SoftmaxClassifier, linear_cross_entropy, softmax_cross_entropy
from fastsoftmax.datasets import make_linear_teacher
task = json.loads(sys.argv[1])
n_samples, n_features, n_classes, batch_size = task["shape"]
threads = task["threads"]
if task["loss"]:
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_samples)
    if n_features:
        X = rng.standard_normal((n_samples, n_features), np.float32)
        W = 0.1 * rng.standard_normal((n_features, n_classes), np.float32)
        run = lambda: linear_cross_entropy(X, W, y, n_threads=threads)
    else:
        z = rng.standard_normal((n_samples, n_classes), np.float32)
        out = np.empty_like(z)
        run = lambda: softmax_cross_entropy(z, y, out=out, n_threads=threads)
    run()
    for line in sys.stdin:
        run()
        print(flush=True)
    sys.exit()
if task["sparse"]:
    from scipy.sparse import csr_array
    rng = np.random.default_rng(0)
    size = n_samples, task["sparse"]
    values, columns = rng.random(size, np.float32), rng.integers(n_features, size=size)
    starts = np.arange(n_samples + 1) * task["sparse"]
    X = csr_array((values.ravel(), columns.ravel(), starts), shape=(n_samples, n_features))
    X.sum_duplicates()
    y = np.arange(n_samples) % n_classes
else:
    data = make_linear_teacher(n_samples, n_features, n_classes, dtype=np.float32)
    X, y = data.X_train, data.y_train
options = {"batch_size": batch_size, "n_jobs": threads, "standardize": task["standardize"]}
options["momentum"] = task["momentum"]
model = SoftmaxClassifier(
    backend="compiled", learning_rate="constant", random_state=0, **options
)
model.partial_fit(X, y, np.arange(n_classes))
for line in sys.stdin:
    model.predict_proba(X) if task["predict"] else model.partial_fit(X, y)
    print(flush=True)
"""


def worker(tree: Path, task: str, variables: Mapping[str, str]) -> Callable[[], None]:
    """Start a process that uses the package of a tree, and return what has it do a task, in JSON, once."""
    environment = os.environ | {"PYTHONPATH": str(tree)} | variables
    command = [sys.executable, "-c", _WORKER, task]
    process = subprocess.Popen(
        command, env=environment, cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )

    def run_epoch() -> None:
        process.stdin.write(b"\n")
        if not process.stdout.readline():
            sys.exit(f"benchmarks.tune: error: a worker ended with status {process.wait()}")

    return run_epoch


def tree_with(name: str, value: str, folder: Path) -> Path:
    """Return a built copy of the tree in which a threshold has another value."""
    for source in _BUILT_FROM:
        if (_ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("_core.c", "*.so")
            shutil.copytree(_ROOT / source, folder / source, ignore=ignore)
        else:
            shutil.copy2(_ROOT / source, folder / source)
    definition = re.compile(rf"(\b{name} = )[^,;\n}}]*\b")
    for path in (folder / name for name in _DEFINED_IN):
        changed, n_changes = definition.subn(rf"\g<1>{value}", path.read_text(), count=1)
        if n_changes:
            path.write_text(changed)
            command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
            kernels = {"FASTSOFTMAX_KERNELS": instruction_set()}
            subprocess.run(command, cwd=folder, env=os.environ | kernels, check=True)
            return folder
    sys.exit(f"benchmarks.tune: error: no threshold has the name {name}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune")
    parser.add_argument(
        "setting", metavar="NAME=VALUE", help="a threshold, or a variable FASTSOFTMAX_..."
    )
    parser.add_argument(
        "--shape", type=int, nargs=4, default=(60_000, 784, 10, 128), metavar=tuple("NDKB")
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--standardize", action="store_true")
    parser.add_argument("--momentum", type=float, default=0.0)
    parser.add_argument(
        "--sparse",
        type=int,
        metavar="VALUES_PER_ROW",
        help="train on sparse rows of as many values",
    )
    parser.add_argument("--predict", action="store_true", help="predict instead of training")
    parser.add_argument(
        "--loss",
        action="store_true",
        help="linear_cross_entropy of all samples; with 0 features softmax_cross_entropy of logits",
    )
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    name, _, value = arguments.setting.partition("=")
    variables = {name: value} if name.startswith("FASTSOFTMAX_") else {}
    task = json.dumps(vars(arguments))
    with tempfile.TemporaryDirectory() as folder:
        tree = _ROOT if variables else tree_with(name, value, Path(folder))
        epochs = {
            "as it is": worker(_ROOT, task, {}),
            arguments.setting: worker(tree, task, variables),
        }
        times = {
            key: timing.median for key, timing in measure(epochs, arguments.rounds, 0.2).items()
        }
    for key, seconds in times.items():
        print(f"{1e3 * seconds:10.3f} ms  {key}")
    print(f"{times[arguments.setting] / times['as it is']:10.3f} is the ratio")


if __name__ == "__main__":
    main()
