"""What the soak runs: each thing that a service would ask of the library, on one of a few fixed inputs."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import fastsoftmax as f
from fastsoftmax.datasets import make_linear_teacher

Answer = list[Any]


class Service:
    """Inputs, and operations on them: from the number of an input to arrays, numbers and texts."""

    N_VARIANTS = 5
    # Every way that rows of logits go in the kernels: few classes, many, one row, more than one sum.
    _ROWS = ((1, 10), (512, 7), (64, 100), (8, 3000), (2000, 33))
    _LINEAR = ((32, 64, 10), (200, 300, 45), (16, 20, 1000), (64, 784, 3), (500, 54, 7))
    _CLASSES = (2, 10, 7, 45, 100)
    _N, _D = 1200, 60

    def __init__(self, folder: Path, n_threads: int) -> None:
        self.folder, self.n_threads = folder, n_threads
        rng = np.random.default_rng(0)
        self.data = [
            make_linear_teacher(self._N, self._D, c, random_state=c) for c in self._CLASSES
        ]
        self.pixels = [
            np.clip(np.rint(40 * data.X_train + 128), 0, 255).astype(np.uint8) for data in self.data
        ]
        self.sparse = [
            csr_array(data.X_train * (rng.random(data.X_train.shape) < 0.05)) for data in self.data
        ]
        for i, data in enumerate(self.data):
            np.save(self._path(f"X{i}.npy"), data.X_train)
        self.rows = [
            (
                rng.normal(scale=4, size=shape).astype(("f4", "f8")[i % 2]),
                rng.integers(shape[1], size=shape[0]),
            )
            for i, shape in enumerate(self._ROWS)
        ]
        self.linear = [
            (
                *(rng.normal(size=size).astype(np.float32) for size in ((n, d), (d, c), c)),
                rng.integers(c, size=n),
            )
            for n, d, c in self._LINEAR
        ]
        self.models = [
            self._new(i).fit(data.X_train, data.y_train) for i, data in enumerate(self.data)
        ]

    def operations(self) -> dict[str, Callable[[int], Answer]]:
        """Return them by name, in the order of a round."""
        return {
            "fit": self.fit,
            "fit of bytes": self.fit_bytes,
            "fit of sparse rows": self.fit_sparse,
            "fit of a mapped file": self.fit_mapped,
            "fit with a checkpoint": self.fit_with_checkpoint,
            "partial_fit": self.partial_fit,
            "predictions": self.predict,
            "loss of logits": self.loss_of_logits,
            "loss of a classifier": self.loss_of_classifier,
            "save and load": self.save_and_load,
            "search": self.search,
            "bad input": self.refuse,
            "threads": self.from_threads,
        }

    def fit(self, i: int) -> Answer:
        data = self.data[i]
        penalty = ("l2", "l1", "elasticnet", None, "l2")[i]
        model = self._new(i, penalty=penalty, momentum=0.9 * (i % 2), average=i == 4)
        return _weights(model.fit(data.X_train, data.y_train))

    def fit_bytes(self, i: int) -> Answer:
        return _weights(self._new(i, standardize=True).fit(self.pixels[i], self.data[i].y_train))

    def fit_sparse(self, i: int) -> Answer:
        return _weights(self._new(i).fit(self.sparse[i], self.data[i].y_train))

    def fit_mapped(self, i: int) -> Answer:
        X = np.load(self._path(f"X{i}.npy"), mmap_mode="r")
        model = self._new(i, shuffle="blocks").fit(X, self.data[i].y_train)
        return [*_weights(model), model.decision_function(X)]

    def fit_with_checkpoint(self, i: int) -> Answer:
        data, path = self.data[i], self._path("checkpoint.npz")
        with suppress(_StopError):
            self._new(i, callbacks=_stop).fit(data.X_train, data.y_train, checkpoint=path)
        model = self._new(i).fit(data.X_train, data.y_train, checkpoint=path, resume=True)
        path.unlink()
        return _weights(model)

    def partial_fit(self, i: int) -> Answer:
        data, model = self.data[i], self._new(i)
        for rows in np.array_split(np.arange(len(data.X_train)), 3):
            model.partial_fit(data.X_train[rows], data.y_train[rows])
        return _weights(model)

    def predict(self, i: int) -> Answer:
        model, X = self.models[i], self.data[i].X_train
        few = X[: 10**i // 10 + 1]
        return [model.predict_proba(few), model.predict(X), model.predict_log_proba(self.sparse[i])]

    def loss_of_logits(self, i: int) -> Answer:
        logits, labels = self.rows[i]
        run = {"n_threads": self.n_threads}
        weighted = run | {"label_smoothing": 0.1, "sample_weight": 1 + labels % 3}
        return [
            *(function(logits, **run) for function in (f.softmax, f.log_softmax, f.logsumexp)),
            *f.softmax_cross_entropy(logits, labels, **run),
            *f.softmax_cross_entropy(logits, labels, **weighted),
        ]

    def loss_of_classifier(self, i: int) -> Answer:
        X, W, intercept, labels = self.linear[i]
        loss, gradients = f.linear_cross_entropy(X, W, labels, intercept, n_threads=self.n_threads)
        return [loss, *gradients, *f.penalty(W, 0.1, 0.1, n_threads=self.n_threads)]

    def save_and_load(self, i: int) -> Answer:
        path = Path(tempfile.mkdtemp()) / "model.npz"
        self.models[i].save(path)
        model = f.load(path)
        path.unlink()
        path.parent.rmdir()
        return _weights(model)

    def search(self, i: int) -> Answer:
        data = self.data[i]
        found = f.search(
            *(data.X_train, data.y_train),
            learning_rates=[0.01, 0.1],
            regs=[1e-4, 0.1],
            max_iter=1,
            tol=None,
            random_state=i,
            n_jobs=self.n_threads,
        )
        return [found.scores, found.losses, *_weights(found.best_model)]

    def refuse(self, i: int) -> Answer:
        """Return what the errors say."""
        logits, labels = self.rows[i]
        data, model = self.data[i], self.models[i]
        with_nan = data.X_train.copy()
        with_nan[7, 3] = np.nan
        broken = csr_array(self.sparse[i])
        broken.indices = broken.indices + 10**6
        calls: list[Callable[[], object]] = [
            lambda: f.softmax_cross_entropy(np.full_like(logits, np.nan), labels),
            lambda: f.softmax_cross_entropy(logits, labels + logits.shape[1]),
            lambda: f.softmax(np.array(["a", "b"])),
            lambda: self._new(i).fit(with_nan, data.y_train),
            lambda: self._new(i).fit(broken, data.y_train),
            lambda: self._new(i, batch_size=-1).fit(data.X_train, data.y_train),
            lambda: self._new(i).fit(data.X_train, data.y_train[:-1]),
            lambda: model.predict(data.X_train[:, 1:]),
            lambda: f.load(self._path("X0.npy")),
        ]
        return [_message_of(call).replace(str(self.folder), "") for call in calls]

    def from_threads(self, i: int) -> Answer:
        """Several at once, on threads that end: one has the kernels' threads, the others go on alone."""
        answers: dict[str, Answer] = {}
        calls = (self.loss_of_logits, self.predict, self.fit, self.loss_of_classifier)
        threads = [
            Thread(target=lambda call=call: answers.update({call.__name__: call(i)}))
            for call in calls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answer for call in calls for answer in answers[call.__name__]]

    def _new(self, i: int, **parameters: Any) -> f.SoftmaxClassifier:
        given = {
            "max_iter": 2,
            "tol": None,
            "batch_size": 50,
            "learning_rate": "constant",
            "random_state": i,
            "n_jobs": self.n_threads,
        }
        return f.SoftmaxClassifier(**given | parameters)

    def _path(self, name: str) -> Path:
        return self.folder / name


class _StopError(Exception):
    """What ends a fit after its first epoch, as a service might be ended."""


def _stop(_: object) -> None:
    raise _StopError


def _weights(model: f.SoftmaxClassifier) -> Answer:
    return [model.coef_, model.intercept_, model.loss_curve_]


def _message_of(call: Callable[[], object]) -> str:
    try:
        call()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("bad input was accepted")
