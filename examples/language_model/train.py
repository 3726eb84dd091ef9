"""Train a language model with PyTorch's loss and with the fused one: the same curve, less memory.

    pip install fastsoftmax torch matplotlib
    python examples/language_model/train.py

Each of the losses trains the same model from the same start in a process of its own, so that the peak of
its memory can be told from the other's. The table has the last loss, the times of a step and of its loss,
and memory; the curves go to `language_model.svg`.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from model import LanguageModel, load_tokens
from torch import Tensor
from torch.nn import functional

from fastsoftmax.torch import linear_cross_entropy


def plain_loss(hidden: Tensor, head: Tensor, following: Tensor) -> Tensor:
    """Return PyTorch's loss of all logits."""
    logits = functional.linear(hidden, head)
    return functional.cross_entropy(logits.flatten(0, 1), following.flatten())


LOSSES = {"torch": plain_loss, "fastsoftmax": linear_cross_entropy}


def peak_memory() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def train(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Train with one of the losses; return its curve, seconds and memory."""
    torch.manual_seed(0)
    tokens, vocabulary = load_tokens()
    model = LanguageModel(
        len(vocabulary), options.length, options.width, options.layers, options.heads
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate)
    generator = torch.Generator().manual_seed(0)
    before, curve, of_steps, of_losses = peak_memory(), [], [], []
    for _ in range(options.steps):
        starts = torch.randint(
            len(tokens) - options.length - 1, (options.batch,), generator=generator
        )
        rows = tokens[starts[:, None] + torch.arange(options.length + 1)]
        begun = time.perf_counter()
        hidden = model(rows[:, :-1])
        # The gradients of the last layer, cut off from the others so that its time can be told.
        states, head = hidden.detach().requires_grad_(), model.head
        of_loss = time.perf_counter()
        loss = LOSSES[name](states, head, rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        of_losses.append(time.perf_counter() - of_loss)
        hidden.backward(states.grad)
        optimizer.step()
        of_steps.append(time.perf_counter() - begun)
        curve.append(loss.item())
    return {
        "curve": curve,
        "step": sorted(of_steps)[len(of_steps) // 2],
        "loss": sorted(of_losses)[len(of_losses) // 2],
        "peak": peak_memory(),
        "before": before,
    }


def draw(results: dict[str, dict[str, object]], path: Path) -> None:
    """Draw the curves, the second one dashed over the first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    for (name, result), style in zip(results.items(), ("-", "--"), strict=True):
        axes.plot(result["curve"], style, label=name)
    axes.set(xlabel="step", ylabel="loss of a minibatch, nats a token")
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Train with both losses, print the table and draw the curves."""
    parser = argparse.ArgumentParser(description="A language model with two losses.")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--picture", type=Path, default=Path("language_model.svg"))
    parser.add_argument("--loss", choices=LOSSES, help="train with this one alone and print JSON")
    options = parser.parse_args()
    if options.loss:
        print(json.dumps(train(options.loss, options)))
        return
    results = {}
    for name in LOSSES:
        command = [sys.executable, *sys.argv, "--loss", name]
        results[name] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        )
    print("loss by      last loss  step, ms  its loss, ms  training memory, MiB")
    for name, result in results.items():
        times = f"{1e3 * result['step']:9.1f} {1e3 * result['loss']:13.1f}"
        memory = result["peak"] - result["before"]
        print(f"{name:12} {result['curve'][-1]:9.4f} {times} {memory:21.0f}")
    curves = [result["curve"] for result in results.values()]
    apart = max(abs(one - other) for one, other in zip(*curves, strict=True))
    print(f"The curves are at most {apart:.1e} apart.")
    draw(results, options.picture)


if __name__ == "__main__":
    main()
