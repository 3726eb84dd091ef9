"""
Cross-entropy without the logits in memory
==========================================

A language model's last layer has tens of thousands of classes: its logits are many times larger than its
inputs. ``linear_cross_entropy`` computes loss and gradients block by block, and never has them all.
"""

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

from fastsoftmax import linear_cross_entropy

rng = np.random.default_rng(0)
n, d = 512, 128


def in_numpy(X, W, y):
    """Loss and gradients with all logits in memory."""
    logits = X @ W
    logits -= logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits)
    sums = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(y))
    loss = np.mean(np.log(sums[:, 0]) - logits[rows, y])
    gradient = exponentials / sums
    gradient[rows, y] -= 1
    gradient /= len(y)
    return loss, X.T @ gradient, gradient @ W.T


def peak(function, *arguments):
    """MiB that a call needs beside its arguments, and its loss."""
    tracemalloc.start()
    loss, *_ = function(*arguments)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20, loss


classes = [1_000, 4_000, 16_000, 32_000]
theirs, ours = [], []
for c in classes:
    X = rng.normal(size=(n, d)).astype(np.float32)
    W = rng.normal(scale=0.05, size=(d, c)).astype(np.float32)
    y = rng.integers(c, size=n)
    (mib, loss), (our_mib, our_loss) = peak(in_numpy, X, W, y), peak(linear_cross_entropy, X, W, y)
    theirs.append(mib)
    ours.append(our_mib)
    print(f"{c:6} classes: losses {loss:.6f} and {our_loss:.6f}, {mib:6.1f} and {our_mib:5.1f} MiB")

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.plot(classes, theirs, "o-", label="NumPy, all logits")
axes.plot(classes, ours, "o-", label="linear_cross_entropy")
axes.set(xlabel="classes", ylabel="peak memory beside the inputs, MiB", ylim=(0, None))
axes.legend()
