"""A policy gradient (REINFORCE) with signed rewards, by `fastsoftmax.torch.linear_cross_entropy`.

    pip install fastsoftmax torch
    python examples/policy_gradient.py

A network sees a context and chooses one of many actions. It earns 1 for the action that a hidden rule calls
the right one, and loses a little for any other. The gradient of the expected reward is a mean over samples
of

    -(reward - baseline) * d cross_entropy(logits, action)

so that the loss of each row is multiplied by a number of either sign, which `reduction="none"` carries to
the gradients. The logits of the training step are never in memory as a whole.

Source: Williams, Simple statistical gradient-following algorithms for connectionist reinforcement learning,
Machine Learning 8 (1992).
"""

import argparse

import torch

from fastsoftmax.torch import linear_cross_entropy

N_FEATURES, N_HIDDEN, N_ACTIONS = 16, 64, 50


def train(n_steps: int, n_samples: int, seed: int = 0) -> list[float]:
    """Return the mean reward of each step."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    rule = torch.randn(N_FEATURES, N_ACTIONS, generator=generator)
    body = torch.nn.Sequential(torch.nn.Linear(N_FEATURES, N_HIDDEN), torch.nn.Tanh())
    head = torch.nn.Linear(N_HIDDEN, N_ACTIONS)
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=0.01)
    earned = []
    for _ in range(n_steps):
        contexts = torch.randn(n_samples, N_FEATURES, generator=generator)
        hidden = body(contexts)
        with torch.no_grad():
            chances = torch.softmax(head(hidden), dim=1)
            actions = torch.multinomial(chances, 1, generator=generator).squeeze(1)
            rewards = torch.where(actions == (contexts @ rule).argmax(dim=1), 1.0, -0.02)
        losses = linear_cross_entropy(hidden, head.weight, actions, head.bias, reduction="none")
        optimizer.zero_grad()
        ((rewards - rewards.mean()) * losses).mean().backward()
        optimizer.step()
        earned.append(rewards.mean().item())
    return earned


def main() -> None:
    """Train, and print what is earned on the way."""
    parser = argparse.ArgumentParser(description="A policy gradient by the fused linear loss.")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--samples", type=int, default=512, help="of each step")
    arguments = parser.parse_args()
    earned = train(arguments.steps, arguments.samples)
    span = max(1, len(earned) // 10)
    print("steps      mean reward")
    for first in range(0, len(earned), span):
        some = earned[first : first + span]
        print(f"{first:4d}-{first + len(some):<5d} {sum(some) / len(some):11.3f}")


if __name__ == "__main__":
    main()
