"""
Four backends, one training
===========================

Plain loops, Numba, NumPy and compiled kernels do the same steps from the same seed. The losses lie on one
another; what differs is how many samples a second each trains on.
"""

from time import perf_counter

import matplotlib.pyplot as plt

from fastsoftmax import SoftmaxClassifier, datasets

digits = datasets.load_digits()
X, y = digits.X_train, digits.y_train

curves, rates = {}, {}
for backend in ("naive", "numba", "vectorized", "compiled"):
    model = SoftmaxClassifier(backend=backend, max_iter=5, random_state=0, n_jobs=1)
    model.fit(X, y)  # Numba compiles on the first call: the second one is timed
    started = perf_counter()
    model.fit(X, y)
    rates[backend] = 5 * len(X) / (perf_counter() - started)
    curves[backend] = model.loss_curve_

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for width, (backend, curve) in zip((7, 5, 3, 1), curves.items(), strict=True):
    left.plot(range(1, 6), curve, lw=width, label=backend, alpha=0.8)
left.set(xlabel="epoch", ylabel="training loss", title="the same losses")
left.set_xticks(range(1, 6))
left.legend()
bars = right.barh(list(rates), list(rates.values()), color="tab:blue")
right.bar_label(bars, [f" {rate:,.0f}" for rate in rates.values()])
right.set(xscale="log", xlabel="samples per second", title="not the same speed")
right.set_xlim(right=10 * max(rates.values()))
right.invert_yaxis()

# %%
# How far apart the losses of the last epoch are:

for backend, curve in curves.items():
    print(f"{backend:>10}: {curve[-1]:.12f}")
