"""Softmax regression on several processes: each has its own share of the rows, all take the same steps.

    mpiexec -n 2 python examples/mpi.py

Needs mpi4py and an MPI; `pip install mpi4py mpich` brings both. The rows are made up here, in parts as if
each were a file: read yours instead. Any number of processes, up to that of the parts, comes to the same
weights but for rounding.
"""

import numpy as np
from mpi4py import MPI

from fastsoftmax import apply_gradient, loss_gradient_sum

N_PARTS, N_ROWS, N_FEATURES, N_CLASSES, N_STEPS = 12, 1000, 20, 5, 40


def read_part(number):
    """Return features and labels of one part of the data."""
    truth = np.random.default_rng(0).normal(size=(N_FEATURES, N_CLASSES))
    rng = np.random.default_rng([1, number])
    X = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    return X, (X @ truth + rng.normal(size=(N_ROWS, N_CLASSES))).argmax(axis=1)


comm = MPI.COMM_WORLD
parts = [read_part(number) for number in range(comm.rank, N_PARTS, comm.size)]
X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))

coef, intercept, velocity = np.zeros((N_CLASSES, N_FEATURES)), np.zeros(N_CLASSES), None
for step in range(N_STEPS):
    own = loss_gradient_sum(X, y, coef, intercept, n_threads=1)  # a core for each process
    total = comm.allreduce(own)  # adds the sums of all processes with +
    if comm.rank == 0 and step % 10 == 0:
        print(f"step {step:2}: loss {total.mean_loss:.5f}")
    coef, intercept, velocity = apply_gradient(
        coef, intercept, total, learning_rate=0.5, l2=1e-4, momentum=0.9, velocity=velocity
    )

hits = comm.allreduce(int(((X @ coef.T + intercept).argmax(axis=1) == y).sum()))
if comm.rank == 0:
    print(f"accuracy {hits / total.weight:.4f} on {total.weight:.0f} rows of {comm.size} processes")
