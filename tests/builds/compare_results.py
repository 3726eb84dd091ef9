"""Compares the bits of what the compiled backend makes on this machine and on an emulated AArch64.

    python compare_results.py PYTHON_OF_AARCH64 PATH

PATH is the PYTHONPATH of the former; the first folder of it has the package and these tests.

Of all that instruction_set_results.py makes, whole trainings among it, NEON has to give the bits of the
best set of this machine, an x86-64 with FMA, and portable C, which has bits of its own, the same on either
machine. Prints what differs, and fails then.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS.parent), str(TESTS / "support")]

from instruction_set_arrays import write  # noqa: E402

from fastsoftmax.backends import get_backend  # noqa: E402

# With one thread, and with one that has no equal part of the work. On one machine more make no
# difference, which test_instruction_sets.py holds.
N_THREADS = ("1", "3")
MAX_NAMES = 20


def results(command, path, instruction_set, given, folder):
    """Return the bytes of every result by name; PYTHONPATH is `path`."""
    file = folder / "results.npz"
    printed = subprocess.run(
        [*command, given, file, *N_THREADS],
        check=True,
        env=os.environ
        | {"FASTSOFTMAX_ISA": instruction_set, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
    ).stdout
    found = {
        f"{name}, result {i}, {n_threads} threads": digest
        for n_threads, digests in json.loads(printed).items()
        for name, of_results in digests.items()
        for i, digest in enumerate(of_results)
    }
    with np.load(file) as values:
        found |= {name: (str(value.dtype), value.tobytes()) for name, value in values.items()}
    return found


def compare(here, there, kind):
    """Print how many results have the same bits, or what differs; return whether none does."""
    differing = [name for name in here | there if here.get(name) != there.get(name)]
    if not differing:
        print(f"{kind}: the bits are the same ({len(here)} results)", flush=True)
        return bool(here)
    print(f"{kind}: {len(differing)} of {len(here | there)} results differ:")
    for name in differing[:MAX_NAMES]:
        print(f"  {name}")
    if len(differing) > MAX_NAMES:
        print(f"  and {len(differing) - MAX_NAMES} more", flush=True)
    return False


def main(emulated_python, path):
    best = get_backend("compiled").instruction_sets()[0]
    if best == "portable":
        sys.exit("compare_results: needs a CPU with AVX2, whose bits NEON is compared with")
    program = "tests/support/instruction_set_results.py"
    native = [sys.executable, TESTS.parent / program], str(TESTS.parent)
    emulated = [emulated_python, Path(path.split(os.pathsep)[0], program)], path
    same = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(given := folder / "given.npz")
        for set_here, set_there in ((best, "neon"), ("portable", "portable")):
            here = results(*native, set_here, given, folder)
            there = results(*emulated, set_there, given, folder)
            same.append(compare(here, there, f"{set_there} on AArch64 and {set_here} here"))
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
