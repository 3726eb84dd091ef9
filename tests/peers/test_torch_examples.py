"""The examples that train with PyTorch, on a small scale."""

import re
import runpy
import subprocess
import sys

from paths import ROOT


def test_a_policy_learns_which_actions_are_rewarded():
    train = runpy.run_path(str(ROOT / "examples" / "policy_gradient.py"))["train"]
    earned = train(120, 512)
    assert sum(earned[:10]) / 10 < 0.1
    assert sum(earned[-10:]) / 10 > 0.4


def test_a_language_model_has_the_same_curve_with_both_losses(tmp_path):
    sizes = ("--steps", "12", "--batch", "4", "--length", "32", "--width", "32", "--layers", "1")
    script = ROOT / "examples" / "language_model" / "train.py"
    command = [
        sys.executable,
        script,
        *sizes,
        "--rate",
        "0.01",
        "--picture",
        tmp_path / "curves.svg",
    ]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:3]}
    assert rows.keys() == {"torch", "fastsoftmax"}
    last, *_ = map(float, rows["fastsoftmax"])
    assert last < 7.5  # log(4277) = 8.36 at the start
    apart = float(re.search(r"at most (\S+) apart", printed).group(1))
    assert apart < 1e-3
    assert "</svg>" in (tmp_path / "curves.svg").read_text()
