"""How fast and how lean fastsoftmax is next to its peers: `python -m benchmarks.peers COMMAND`.

`epochs` and `loss` compare it with NumPy, PyTorch, JAX and scikit-learn, `busy` measures it beside
processes that keep the CPUs busy, `memory` what a training takes. `optimum` measures the time to the
minimum, against scikit-learn's solvers and others. `make peers` installs the peers and runs them. A peer is
a class in `trainers.py`, `losses.py` or `minimizers.py`; a line of the table of `epochs` is a `Row`, a set
of `optimum` an `OptimumSet`.
"""
