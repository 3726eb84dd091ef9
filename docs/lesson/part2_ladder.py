# %% [markdown]
# # Part 2: a ladder of eight rungs
#
# One computation, written eight times: the loss of softmax regression and its gradient, from plain loops
# to threads. The result stays the same; the time falls by a factor of several thousand.
#
# Measuring is easy. **Here you predict first.** On every rung you count what the code does (interpreted
# operations, calls of NumPy, bytes, floating-point operations), multiply the counts by what each costs on
# your machine, and only then run it. Where your prediction is right, you have understood why the code
# takes the time that it takes. Where it is wrong, something happens that you have not counted: find it.
#
# You need the formulas of part 1, and a machine that is not busy with other things.

# %%
import json
import math
import os
import statistics
import subprocess
import sys

import numba
import numpy as np
import threadpoolctl
from ladder import Ladder, seconds_of

import fastsoftmax
from fastsoftmax.profiling.roofline import measure_peaks

limits = threadpoolctl.threadpool_limits(
    1, "blas"
)  # NumPy on one thread: threads are the last rung

# %% [markdown]
# ## The task
#
# $n$ samples of $d$ features and $c$ classes. Ten digits would be over too soon to see anything, so here
# are a thousand classes, as in ImageNet, in `float32` (4 bytes a number). The loss is the mean
# cross-entropy, the gradient is that of part 1:
#
# $$Z = XW, \qquad P_{ik} = \frac{e^{Z_{ik}}}{\sum_j e^{Z_{ij}}}, \qquad L = -\frac1n \sum_i \log P_{iy_i},
# \qquad \frac{\partial L}{\partial W} = \frac1n X^\top (P - Y)$$
#
# where $Y_{ik}$ is 1 for the true class of a sample and else 0.

# %%
n, d, c = 16384, 64, 1000
random = np.random.default_rng(0)
X = random.standard_normal((n, d), dtype=np.float32)
W = 0.1 * random.standard_normal((d, c), dtype=np.float32)
y = random.integers(c, size=n)
print(f"X: {X.nbytes / 1e6:.1f} MB, W: {W.nbytes / 1e6:.2f} MB, Z: {n * c * 4 / 1e6:.1f} MB")

# %% [markdown]
# **Question.** How many multiplications and additions does one sample need? Which of the two matrix
# products needs more?
#
# <details><summary>Answer</summary>
#
# The scores of a sample are $c$ sums of $d$ products: $dc$ multiplications and about as many additions,
# $2dc$ operations. The gradient adds $x_j\,(p_k - [k = y])$ to each of the $dc$ numbers: $2dc$ again.
# Together $4dc = 256\,000$. The softmax needs about five operations for each class, $5c = 5000$, which is
# little, but one of them is an exponential.
#
# </details>

# %%
flop = 4 * d * c + 5 * c  # of a sample
print(f"{flop:,} operations per sample, {flop * n / 1e9:.2f} billion for all")

# %% [markdown]
# ## What things cost on this machine
#
# Each unit is measured by itself, on arrays that have nothing to do with the task, in seconds.
#
# *Interpreted operations.* The line `t[i] = t[i] + a[i] * b[i]` in a loop is seven of them for Python:
# the next `i`, three reads, one write, a product and a sum.

# %%
units = {}
a, b, t = ([float(i) for i in range(1000)] for _ in range(3))


def seven_operations():
    for i in range(1000):
        t[i] = t[i] + a[i] * b[i]


units["interpreted"] = seconds_of(seven_operations) / 7000

# %% [markdown]
# *Compiled loops, one number at a time.* In `s += a[i] * b[i]` each addition waits for the one before,
# however fast the processor is: a chain. `exp` is a function of the C library.


# %%
@numba.njit
def chain(a, b):
    s = 0.0
    for i in range(len(a)):
        s += a[i] * b[i]
    return s


@numba.njit
def exponentials(a, out):
    for i in range(len(a)):
        out[i] = math.exp(a[i])


@numba.njit
def read_and_write(a, n_times):  # each number once per time
    for _ in range(n_times):
        for i in range(len(a)):
            a[i] = 1 - a[i]


numbers = random.standard_normal(16 << 10, dtype=np.float32)
out = np.empty_like(numbers)
units["chain_step"] = seconds_of(lambda: chain(numbers, numbers)) / numbers.size
units["scalar_exp"] = seconds_of(lambda: exponentials(numbers, out)) / numbers.size

# %% [markdown]
# *Bytes.* The same loop over arrays of different sizes: what fits into a cache comes from there. These
# are the sloping roofs of the plots below.

# %%
roofs = {}
for level, size in {"L1": 16 << 10, "L2": 256 << 10, "L3": 4 << 20, "memory": 256 << 20}.items():
    array = np.ones(size // 4, np.float32)
    n_times = max(1, (4 << 20) // size)
    roofs[level] = 2 * size * n_times / seconds_of(lambda a=array, t=n_times: read_and_write(a, t))
    print(f"{level:>6}: {roofs[level] / 1e9:6.1f} GB/s")
units["L2_byte"] = 1 / roofs["L2"]

# %% [markdown]
# *NumPy.* A call costs something even if there is nothing to do. A pass over an array costs so much per
# byte read or written: more in memory than in a cache. An array that is **new** costs more again: the
# system hands out memory page by page, at the first touch, and clears it. Exponentials, sums and maxima
# along rows, and products have prices of their own. (The product is a thin one, with sums of 64 terms, as
# in the task.)

# %%
one = np.ones((1, 1), np.float32)
calls = [
    lambda: np.negative(one, out=one),
    lambda: np.add(one, 1, out=one),
    lambda: one.sum(axis=1),
    lambda: one.max(axis=1),
]
one_of_each = sum(seconds_of(call, 0.05) for call in calls)
units["call"] = one_of_each / len(calls)

large, block = np.ones((48 << 10, 512), np.float32), np.ones((256, 512), np.float32)
for unit, array in {"memory_byte": large, "cache_byte": block}.items():
    column = array[:, :1].copy()
    units[unit] = seconds_of(lambda a=array, b=column: np.subtract(a, b, out=a)) / (
        2 * array.nbytes
    )
units["new_byte"] = seconds_of(lambda: np.negative(large)) / large.nbytes - 2 * units["memory_byte"]
units["exp"] = seconds_of(lambda: np.exp(numbers, out=out)) / numbers.size
table = random.standard_normal((64, 512), dtype=np.float32)
reductions = seconds_of(lambda: table.max(axis=1)) + seconds_of(lambda: table.sum(axis=1))
units["reduced"] = reductions / 2 / table.size
A = random.standard_normal((256, 64), dtype=np.float32)
product = A @ table
units["product_flop"] = seconds_of(lambda: np.matmul(A, table, out=product)) / (
    2 * product.size * 64
)

# %% [markdown]
# *Vector instructions.* `fastsoftmax` chooses the best instruction set of the processor when it is
# imported. A process of its own with `FASTSOFTMAX_ISA=portable` shows the same C code without one: a
# floating-point operation (in registers), and an exponential with all that a softmax does around it.

# %%
PROGRAM = """
import json, numpy as np, fastsoftmax
from ladder import seconds_of
from fastsoftmax.profiling.roofline import measure_peaks
z = np.random.default_rng(0).standard_normal((64, 256), dtype=np.float32)
softmax = seconds_of(lambda: fastsoftmax.softmax(z, out=z, n_threads=1)) / z.size
print(json.dumps({"flops": measure_peaks(1).float32, "exp": softmax}))
"""


def run_with(program, isa):
    environment = os.environ | {"FASTSOFTMAX_ISA": isa}
    environment["PYTHONPATH"] = os.pathsep.join(["", *filter(None, sys.path)])
    command = [sys.executable, "-c", program]
    return json.loads(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)


portable, simd = run_with(PROGRAM, "portable"), run_with(PROGRAM, "")
units["portable_flop"] = 1 / portable["flops"]
units["portable_exp"], units["simd_exp"] = portable["exp"], simd["exp"]
n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
peaks = {"one thread": measure_peaks(1).float32}
if n_threads > 1:
    peaks[f"{n_threads} threads"] = measure_peaks(n_threads).float32
speed_up = max(peaks.values()) / peaks["one thread"]
print(f"{n_threads} threads do {speed_up:.2f} times the arithmetic of one")

for name, seconds in units.items():
    print(f"{name:>14}: {seconds * 1e9:10.4f} ns     {1e-9 / seconds:10.4f} per ns")

# %% [markdown]
# **Question.** How many products and sums could the processor do in vector instructions while Python does
# one interpreted operation?
#
# <details><summary>Answer</summary>
#
# Divide `interpreted` by `product_flop`: typically several hundred to two thousand. That is the length of
# the ladder.
#
# </details>
#
# From here on, the tool `ladder` multiplies your counts by these units, measures, and draws. `touched` is
# what the plot needs: the bytes of a sample that the code reads or writes in arrays, wherever they lie.

# %%
ladder = Ladder(units, roofs, peaks, flop)

# %% [markdown]
# ## Rung 1: loops
#
# The formulas, one number at a time, on Python's lists. `z` and `dW` are given, so that the very same
# function works on the next rung, too. (These scores are small: the maximum need not be subtracted.)


# %%
def loops(X, W, y, z, dW):
    loss = 0.0
    for i in range(len(X)):
        for k in range(len(z)):
            s = 0.0
            for j in range(len(W)):
                s += X[i][j] * W[j][k]
            z[k] = s
        total = 0.0
        for k in range(len(z)):
            z[k] = math.exp(z[k])
            total += z[k]
        loss -= math.log(z[y[i]] / total)
        for k in range(len(z)):
            z[k] /= total
        z[y[i]] -= 1.0
        for j in range(len(W)):
            x, gradient = X[i][j] / len(X), dW[j]
            for k in range(len(z)):
                gradient[k] += x * z[k]
    return loss / len(X)


# %% [markdown]
# Count the two innermost lines, which run $dc$ times per sample; what runs $c$ times is less than a tenth
# of that.
#
# - `s += X[i][j] * W[j][k]`: the next `j`, four subscripts, a product, a sum: **7**
# - `gradient[k] += x * z[k]`: the next `k`, two reads, one write, a product, a sum: **6**
#
# For the classes themselves some 20: the loop, `exp`, sums, subscripts.

# %%
rows = 4  # of 16384: the others would take as long
ladder.predict("loops", rows, interpreted=rows * (13 * d * c + 20 * c))

# %%
lists = X[:rows].tolist(), W.tolist(), y[:rows].tolist()
dW_lists = [[0.0] * c for _ in range(d)]
ladder.measure("loops", lambda: loops(*lists, [0.0] * c, dW_lists), rows, touched=20 * d * c)

# %% [markdown]
# **Question.** The loops do one operation of the formulas in tens of nanoseconds; the processor could do
# thousands in that time. What is it doing instead?
#
# <details><summary>Answer</summary>
#
# For each interpreted operation Python fetches a bytecode, looks at the types of two objects, follows
# pointers to their values, makes a new object for the result and counts references: dozens of machine
# instructions, of which one is the product.
#
# </details>

# %% [markdown]
# ## Rung 2: Numba
#
# The same function, compiled to machine code, on arrays. What is left of an interpreted operation is the
# arithmetic.
#
# - The scores are a chain of $dc$ additions: `chain_step`.
# - The gradient is a loop without a chain, so the compiler makes vector instructions of it. It reads and
#   writes `dW` (which lies in the second cache) and reads `z` (which lies in the first): $8dc$ bytes of
#   L2.
# - $c$ exponentials of the C library.

# %%
rows = n // 16
ladder.predict(
    "Numba", rows, chain_step=rows * d * c, L2_byte=rows * 8 * d * c, scalar_exp=rows * c
)

# %%
compiled_loops = numba.njit(loops)
z, dW_numba = np.empty(c, np.float32), np.zeros_like(W)
loss = compiled_loops(X[:rows], W, y[:rows], z, dW_numba)  # the first call compiles
print(f"loss of the first rows: {loss:.5f}")


# %%
def run_numba():
    compiled_loops(X[:rows], W, y[:rows], z, dW_numba)


ladder.measure("Numba", run_numba, rows, touched=20 * d * c)

# %% [markdown]
# ## Rung 3: NumPy
#
# As one would write it down. The two products run in a library (BLAS) that uses vector instructions and
# keeps numbers in registers. But each line between them is a pass over 65 MB, and most lines make a new
# array of that size.


# %%
def with_numpy(X, W, y):
    Z = X @ W
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    P = E / E.sum(axis=1, keepdims=True)
    loss = -np.log(P[np.arange(len(X)), y]).mean()
    P[np.arange(len(X)), y] -= 1
    dW = X.T @ P / len(X)
    return loss, dW


# %% [markdown]
# Count the passes over an array of $nc$ numbers, reading (r), writing (w), and whether it is new:
#
# | code | passes | new |
# |---|---|---|
# | `X @ W` | w | 1 |
# | `Z.max` | r | |
# | `Z - …` | r w | 1 |
# | `np.exp` | r w | 1 |
# | `E.sum` | r | |
# | `E / …` | r w | 1 |
# | `X.T @ P` | r | |
#
# Ten passes of $4nc$ bytes, and four new arrays.

# %%
Z_bytes = 4 * n * c
ladder.predict(
    "NumPy",
    n,
    product_flop=4 * n * d * c,
    exp=n * c,
    reduced=2 * n * c,
    memory_byte=10 * Z_bytes,
    new_byte=4 * Z_bytes,
    call=12,
)

# %%
ladder.measure("NumPy", lambda: with_numpy(X, W, y), n, touched=10 * 4 * c)
loss, dW = with_numpy(X, W, y)
print(f"loss {loss:.6f}")

# %% [markdown]
# **Question.** Which is the largest term of your prediction that is no arithmetic at all, and how would
# you get rid of it?
#
# <details><summary>Answer</summary>
#
# The new arrays. Nothing is computed when the system hands out 260 MB and clears them. Make the array
# once, and let each function write its result there: `out=`.
#
# </details>

# %% [markdown]
# ## Rung 4: NumPy in place
#
# One array for everything, made once, outside. The same passes, no new memory.

# %%
buffer = np.empty((n, c), np.float32)


def in_place(X, W, y, Z, dW):
    np.matmul(X, W, out=Z)
    Z -= Z.max(axis=1, keepdims=True)
    np.exp(Z, out=Z)
    Z /= Z.sum(axis=1, keepdims=True)
    loss = -np.log(Z[np.arange(len(X)), y]).mean()
    Z[np.arange(len(X)), y] -= 1
    np.matmul(X.T, Z, out=dW)
    dW /= len(X)
    return loss


ladder.predict(
    "in place",
    n,
    product_flop=4 * n * d * c,
    exp=n * c,
    reduced=2 * n * c,
    memory_byte=10 * Z_bytes,
    call=13,
)

# %%
dW_in_place = np.empty_like(W)
ladder.measure("in place", lambda: in_place(X, W, y, buffer, dW_in_place), n, touched=10 * 4 * c)
print("the same gradient:", np.allclose(dW_in_place, dW, atol=1e-7))

# %% [markdown]
# ## Rung 5: block by block
#
# Every pass still fetches all scores from memory. But nothing forces us to finish a line for all rows
# before the next line begins: take 128 rows at a time, whose scores (0.5 MB) stay in a cache through all
# passes.
#
# The price: 128 times as many calls, and the gradients of the blocks have to be added.

# %%
size = 128


def in_blocks(X, W, y, Z, dW):
    loss, part = 0.0, np.empty_like(dW)
    dW[:] = 0
    for start in range(0, len(X), size):
        rows = slice(start, start + size)
        loss += size * in_place(X[rows], W, y[rows], Z, part)
        dW += part
    dW *= size / len(X)
    return loss / len(X)


n_blocks = n // size
ladder.predict(
    "in blocks",
    n,
    product_flop=4 * n * d * c,
    exp=n * c,
    reduced=2 * n * c,
    cache_byte=10 * Z_bytes + n_blocks * 6 * 4 * d * c,
    call=n_blocks * 16,
)

# %%
ladder.measure(
    "in blocks", lambda: in_blocks(X, W, y, buffer[:size], dW_in_place), n, touched=10 * 4 * c
)
print("the same gradient:", np.allclose(dW_in_place, dW, atol=1e-7))

# %% [markdown]
# **Question.** What would happen with blocks of 4 rows, and with blocks of 4096?
#
# <details><summary>Answer</summary>
#
# With 4 rows the calls (16 for each block, 4 for each sample) cost several microseconds a sample, `dW` is
# read and written for each block, and the products are too thin for BLAS. With 4096 rows the scores have
# 16 MB, so that each pass goes to the third cache or to memory, as in rung 4. Try it: change `size`.
#
# </details>

# %% [markdown]
# ## Rung 6: fused
#
# `linear_cross_entropy` works on blocks as well, but in C: product, softmax, loss and gradient of a block
# without Python between them, and the passes of the softmax merged into one, which reads a row of scores
# once and writes it once. The first product writes the scores and the second reads them, too: 16 bytes
# for each score, in the second cache. What is left is the arithmetic.
#
# First the same C code as it is for any processor (`portable`), in a process of its own:

# %%
FUSED = """
import json, numpy as np, fastsoftmax
from ladder import seconds_of
random = np.random.default_rng(0)
X = random.standard_normal((ROWS, 64), dtype=np.float32)
W = 0.1 * random.standard_normal((64, 1000), dtype=np.float32)
y = random.integers(1000, size=ROWS)
step = lambda: fastsoftmax.linear_cross_entropy(X, W, y, wrt=("W",), n_threads=1)
print(json.dumps(seconds_of(step)))
"""
rows = n // 8
ladder.predict(
    "fused",
    rows,
    portable_flop=rows * 4 * d * c,
    portable_exp=rows * c,
    L2_byte=rows * 16 * c,
)

# %%
seconds = run_with(FUSED.replace("ROWS", str(rows)), "portable")
ladder.measure("fused", None, rows, touched=4 * 4 * c, seconds=seconds)

# %% [markdown]
# Slower than NumPy! Fusion alone does not help where arithmetic is the limit, and the products of NumPy
# have vector instructions.
#
# ## Rung 7: vector instructions
#
# The same code, compiled for the instruction set of this processor. A vector of AVX2 has eight numbers,
# one of AVX-512 sixteen, and a fused multiply-add is two operations in one instruction. You know what an
# operation of a product costs with them: `product_flop`.

# %%
ladder.predict("SIMD", n, product_flop=4 * n * d * c, simd_exp=n * c, L2_byte=4 * Z_bytes)


# %%
def fused(n_threads):
    return fastsoftmax.linear_cross_entropy(X, W, y, wrt=("W",), n_threads=n_threads)


ladder.measure("SIMD", lambda: fused(1), n, touched=4 * 4 * c)
loss_fused, gradients = fused(1)
print("the same loss:", np.isclose(loss_fused, loss))
print("the same gradient:", np.allclose(gradients.W, dW, atol=1e-7))

# %% [markdown]
# ## Rung 8: threads
#
# Each thread takes a share of the rows; what they share is the memory, which is no longer the limit. So:
# the time of one thread, divided by what the first cells measured: how much more arithmetic all threads
# do than one.

# %%
ladder.predict(
    "threads",
    n,
    product_flop=4 * n * d * c / speed_up,
    simd_exp=n * c / speed_up,
    L2_byte=4 * Z_bytes / speed_up,
)

# %%
ladder.measure("threads", lambda: fused(n_threads), n, touched=4 * 4 * c)
loss_threads, gradients_threads = fused(n_threads)
print("the same bits on any number of threads:", np.array_equal(gradients_threads.W, gradients.W))

# %% [markdown]
# **Question.** This prediction is often the worst of the ladder, and too low. What has not been counted?
#
# <details><summary>Answer</summary>
#
# Waiting. The threads meet several times in each block of rows, and all of them wait for the last:
# whatever else runs on one of the processors for a moment delays all. They also share the third cache
# and, on many processors, the clock: the more cores are busy, the slower each is. What measures peaks of
# all threads does not meet anybody until the end.
#
# </details>

# %% [markdown]
# ## Small minibatches
#
# With a thousand classes and thousands of rows, calls cost nothing. Training on the digits of part 1 is
# another matter: 32 samples, 64 features, 10 classes. Here is a step of SGD in NumPy:


# %%
def small_step(X, W, y):
    Z = X @ W
    Z -= Z.max(axis=1, keepdims=True)
    np.exp(Z, out=Z)
    Z /= Z.sum(axis=1, keepdims=True)
    Z[np.arange(len(X)), y] -= 1
    W -= X.T @ Z * (0.1 / len(X))


# %%
# Exercise 7: what does a step do? Count calls of NumPy (an operator is one; reading and writing Z[...] are
# one each), the operations of the two products, and the exponentials.
def counts_of_a_step(n, d, c):
    raise NotImplementedError('return {"call": ..., "product_flop": ..., "exp": ...}')


# %%
# Check 7
counts = counts_of_a_step(32, 64, 10)
assert counts["product_flop"] == 81_920
assert counts["exp"] == 320
assert 12 <= counts["call"] <= 14
predicted = sum(count * units[unit] for unit, count in counts.items())
X_small, y_small = random.random((32, 64), dtype=np.float32), random.integers(10, size=32)
W_small = np.zeros((64, 10), np.float32)
measured = seconds_of(lambda: small_step(X_small, W_small, y_small))
print(f"predicted {predicted * 1e6:.1f} µs, measured {measured * 1e6:.1f} µs")
print(f"of the prediction, calls are {counts['call'] * units['call'] / predicted:.0%}")

# %% [markdown]
# **Question.** Which rung helps here: larger vectors, more threads, or something else?
#
# <details><summary>Answer</summary>
#
# Something else. The arithmetic takes a microsecond or two, so that neither vectors nor threads can win
# much; the calls take the rest. `SoftmaxClassifier` takes all steps of an epoch in a single call of
# compiled code: one call instead of thirteen for each minibatch.
#
# </details>

# %%
model = fastsoftmax.SoftmaxClassifier(max_iter=100, tol=None, batch_size=32, eta0=0.1, n_jobs=1)
X_digits, y_digits = random.random((1280, 64), dtype=np.float32), random.integers(10, size=1280)
seconds = seconds_of(lambda: model.fit(X_digits, y_digits)) / (100 * 1280 / 32)
print(f"a step inside of a compiled epoch: {seconds * 1e6:.1f} µs")

# %% [markdown]
# ## How good were the predictions?

# %%
ratios = [rung["predicted"] / rung["measured"] for rung in ladder.rungs.values()]
errors = [abs(ratio - 1) for ratio in ratios]
print(
    f"median error of the predictions: {statistics.median(errors):.0%}, largest {max(errors):.0%}"
)

# %% [markdown]
# On a quiet machine the median is 10 to 20 %. Is yours larger? Look for the rung whose ratio is far from
# 1, and for what its code does that was not counted. Then change something (the number of classes,
# `float64`, `size`), predict, and measure again.
