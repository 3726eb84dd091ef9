"""
Cross-entropy without the logits in memory
==========================================

A language model's last layer has tens of thousands of classes: its logits are many times larger than its
inputs. ``linear_cross_entropy`` computes loss and gradients block by block, and never has them all.
"""

import subprocess
import sys

import matplotlib.pyplot as plt

# %%
# Each contender runs in a process of its own, which prints its loss and by how many MiB its resident memory
# has grown at most: that counts what compiled code allocates, too.

PROGRAM = """
import re, sys
import numpy as np
from fastsoftmax import linear_cross_entropy

def in_numpy(X, W, y):
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

def most_resident():  # in MiB, as Linux counts it
    return int(re.search("VmHWM:(.*) kB", open("/proc/self/status").read())[1]) / 1024

function = {"numpy": in_numpy, "ours": linear_cross_entropy}[sys.argv[1]]
n, d, c = 1024, 128, int(sys.argv[2])
rng = np.random.default_rng(0)
X = rng.standard_normal((n, d), np.float32)
W = 0.05 * rng.standard_normal((d, c), np.float32)
y = rng.integers(c, size=n)
function(X[:50, :8], W[:8, :50], y[:50] % 50)  # threads have begun
before = most_resident()
loss, *_ = function(X, W, y)
print(loss, most_resident() - before)
"""


def loss_and_memory(contender, n_classes):
    """What PROGRAM prints."""
    command = [sys.executable, "-c", PROGRAM, contender, str(n_classes)]
    ran = subprocess.run(command, check=True, capture_output=True)
    return map(float, ran.stdout.split())


classes = [1_000, 8_000, 16_000, 32_000]
memory = {"numpy": [], "ours": []}
for c in classes:
    for contender, mebibytes in memory.items():
        loss, grown = loss_and_memory(contender, c)
        mebibytes.append(grown)
        print(f"{c:6} classes, {contender}: loss {loss:.5f}, {grown:4.0f} MiB")

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.plot(classes, memory["numpy"], "o-", label="NumPy, all logits")
axes.plot(classes, memory["ours"], "o-", label="linear_cross_entropy")
of_gradient = [4 * 128 * c / 2**20 for c in classes]
axes.plot(classes, of_gradient, "k:", label="the gradient of W alone")
axes.set(xlabel="classes", ylabel="peak memory beside the inputs, MiB")
axes.set_ylim(bottom=0)
axes.legend()
