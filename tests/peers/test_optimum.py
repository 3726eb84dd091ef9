"""PyTorch as a contender of the benchmark `optimum`: it has the same minimum."""

import pytest
from paths import ROOT


@pytest.mark.parametrize("name", ["iris", "breast-cancer"])
def test_torch_lbfgs(monkeypatch, name):
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.peers import ladder, minimizers, optimum_sets
    from benchmarks.peers.problem import objective

    problem = optimum_sets.SETS[name].problem(None, quick=False, alpha=None)
    weights, _ = minimizers.FastSoftmax64(problem, 1).minimum(1e-9)
    minimum = objective(problem.X64, problem.y, *weights, problem.alpha)
    torch = minimizers.TorchLbfgs(problem, 1)
    ladder.timed_fit(torch, 1000)
    assert torch.has_stopped
    found = objective(problem.X64, problem.y, *torch.weights(), problem.alpha)
    assert -1e-9 <= found / minimum - 1 <= 1e-6
