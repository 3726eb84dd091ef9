"""`python -m benchmarks.tune NAME=VALUE`: what another threshold would cost, in time per epoch.

NAME is a threshold of csrc/kernels/tuning.h (or of the Cython core), which is changed in a copy of the tree
that is built for this, or an environment variable: FASTSOFTMAX_STEP=packed forces a step algorithm. Epochs
with and without it take turns on the same data, and the ratio is that of the medians. Measure on a machine
that does nothing else.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastsoftmax.backends.compiled import instruction_set
from fastsoftmax.cli.timing import measure

_ROOT = Path(__file__).parents[1]
_BUILT_FROM = ("csrc", "fastsoftmax", "setup.py", "pyproject.toml", "README.md", "LICENSE")
# Trains for one epoch whenever a line comes.
_WORKER = """
import sys
import numpy as np
from fastsoftmax import SoftmaxClassifier
from fastsoftmax.datasets import make_linear_teacher
n_samples, n_features, n_classes, batch_size, n_threads, scales = map(int, sys.argv[1:])
data = make_linear_teacher(n_samples, n_features, n_classes, dtype=np.float32)
options = {"batch_size": batch_size, "n_jobs": n_threads, "standardize": bool(scales)}
model = SoftmaxClassifier(backend="compiled", random_state=0, **options)
model.partial_fit(data.X_train, data.y_train, np.arange(n_classes))
for line in sys.stdin:
    model.partial_fit(data.X_train, data.y_train)
    print(flush=True)
"""


def worker(tree: Path, shape: Sequence[int], variables: Mapping[str, str]) -> Callable[[], None]:
    """Start a process that trains with the package of a tree, and return what has it train for an epoch."""
    environment = os.environ | {"PYTHONPATH": str(tree)} | variables
    command = [sys.executable, "-c", _WORKER, *map(str, shape)]
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
    compiled = sorted((folder / "fastsoftmax" / "backends" / "compiled").glob("*.p[yx][xi]"))
    for path in (folder / "csrc" / "kernels" / "tuning.h", *compiled):
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
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    name, _, value = arguments.setting.partition("=")
    variables = {name: value} if name.startswith("FASTSOFTMAX_") else {}
    shape = (*arguments.shape, arguments.threads, int(arguments.standardize))
    with tempfile.TemporaryDirectory() as folder:
        tree = _ROOT if variables else tree_with(name, value, Path(folder))
        epochs = {
            "as it is": worker(_ROOT, shape, {}),
            arguments.setting: worker(tree, shape, variables),
        }
        times = {
            key: timing.median for key, timing in measure(epochs, arguments.rounds, 0.2).items()
        }
    for key, seconds in times.items():
        print(f"{1e3 * seconds:10.3f} ms  {key}")
    print(f"{times[arguments.setting] / times['as it is']:10.3f} is the ratio")


if __name__ == "__main__":
    main()
