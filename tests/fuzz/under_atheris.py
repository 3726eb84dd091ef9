"""Runs one target under libFuzzer, with coverage of fastsoftmax alone:

    python -m tests.fuzz.under_atheris TARGET SEEDS [what libFuzzer takes]

SEEDS is a folder that is filled with the target's seeds.
"""

import resource
import shlex
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastsoftmax"]):
    import fastsoftmax.classifier.evaluation
    import fastsoftmax.classifier.model_files.save_load
    import fastsoftmax.datasets.formats
    import fastsoftmax.loss
    import fastsoftmax.training.gradient_sums  # noqa: F401
    from tests.fuzz import corpora, seeds, targets

# A file of some thousand bytes that asks for more gets a MemoryError, which is a finding.
_MAX_MEMORY = 6 << 30


def main() -> None:
    name, folder, *options = sys.argv[1:]
    corpora.unpack(seeds.seeds_of(name), Path(folder))
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    atheris.Setup([str(command_for(name, folder)), *options], targets.TARGETS[name])
    atheris.Fuzz()


def command_for(name: str, folder: str) -> Path:
    """A program that does this again: to merge corpora, libFuzzer starts itself."""
    again = Path(folder).absolute().parent / "again"
    words = [sys.executable, "-m", "tests.fuzz.under_atheris", name, folder]
    again.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    again.chmod(0o755)
    return again


main()
