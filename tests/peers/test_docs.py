"""The blocks of README and docs that need PyTorch."""

import importlib.util

import pytest
from paths import ROOT

_spec = importlib.util.spec_from_file_location("docs", ROOT / "tests" / "project" / "test_docs.py")
docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs)


@pytest.mark.parametrize("code", docs.python_examples(with_torch=True))
def test_every_block_of_python_runs_alone(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    docs.run_alone(code, monkeypatch)
