"""The blocks of README and docs that need PyTorch."""

import importlib.util
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location(
    "docs", Path(__file__).parent.parent / "test_docs.py"
)
docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs)


@pytest.mark.parametrize("code", docs.python_examples(with_torch=True))
def test_every_block_of_python_runs_alone(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    docs.run_alone(code, monkeypatch)
