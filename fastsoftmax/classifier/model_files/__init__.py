"""Model files: a fitted classifier as tensors and JSON, never as code, and as an ONNX graph.

What writes and reads them is imported when it is first used.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..classifier import SoftmaxClassifier


class ModelFiles:
    """The methods of a classifier that write it to files and read it from them."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted model to a file, from which `load` makes one that goes on with the same bits.

        The file holds tensors and JSON: the parameters of the constructor, the classes, the names of the
        features, the weights, and what `partial_fit` goes on with (velocities, averages, the state of
        the random generator). It is written beside `path` and then takes its place, at once: where
        writing fails, what was there before is as it was.

        Some parameters cannot be data: a callable `learning_rate`, `callbacks`, and a
        `random_state` that is an instance. These are left out with a warning, and `load`, which warns
        as well, gives them their defaults. (`partial_fit` draws from the fitted model's own generator,
        which is stored in any case.) Attributes that a user has added are not stored, nor requests for
        scikit-learn's metadata routing.

        Parameters
        ----------
        path : str or path-like
            Ends in ".npz", NumPy's archive, or in ".safetensors" (needs safetensors).

        Raises
        ------
        ValueError, TypeError
            If `path` ends in something else, or an attribute is not what a file may hold: weights
            that are not finite, labels of a type of their own. The message names it.
        NotFittedError
            If the model is not fitted.
        ImportError
            If safetensors is needed and not installed.
        OSError
            If the file cannot be written.

        Warns
        -----
        UserWarning
            If a parameter is left out; the message names it.

        Examples
        --------
        >>> import os, tempfile
        >>> from fastsoftmax import SoftmaxClassifier, load
        >>> model = SoftmaxClassifier(random_state=0, tol=None, max_iter=5).fit([[0.0], [1.0]], ["a", "b"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.npz"))
        ...     loaded = load(os.path.join(folder, "model.npz"))
        >>> loaded.predict([[0.9]]).tolist()
        ['b']
        """
        from .save_load import save_model

        save_model(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Return the model that `save` has written to a file.

        Nothing in a file is ever executed, and no more is allocated than its size accounts for.
        Predictions, scores, `partial_fit` and warm starts have the bits that those of the saved model have.

        Parameters
        ----------
        path : str or path-like
            Ends in ".npz" or ".safetensors".

        Returns
        -------
        SoftmaxClassifier
            Of the class that `load` is called on.

        Raises
        ------
        ValueError
            If `path` ends in something else.
        ModelFileError
            If the file is no model file, is truncated or changed, is of a newer version of the format or
            holds what cannot be a model; the message names the file and the reason.
        ImportError
            If safetensors is needed and not installed.
        OSError
            If there is no such file, or it cannot be read.

        Warns
        -----
        UserWarning
            If `save` left out a parameter, which has its default now; the message names it.
        """
        from .save_load import load_model

        model: Self = load_model(cls, path)
        return model

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the predictions of the fitted model to an ONNX file.

        The graph computes::

            z = X @ coef.T + intercept;  probabilities = softmax(z);  label = classes[argmax(z)]

        The input is `X`, float32 (N, n_features). The outputs are `label` (N,), strings where the classes
        are strings and int64 where they are integers, booleans or floats, and `probabilities`, float32
        (N, n_classes) in the order of `classes_`. They are computed in the dtype of the weights; of
        float64 ones only the probabilities are rounded. Numbers that are not finite, an error of
        `predict`, are none of the graph.

        Parameters
        ----------
        path : str or path-like
            Ends in ".onnx".

        Raises
        ------
        ValueError, TypeError
            If `path` ends in something else, the weights are not finite, or a label is neither an int64
            nor a string of Unicode.
        NotFittedError
            If the model is not fitted.
        ImportError
            If onnx is not installed.
        OSError
            If the file cannot be written; what was there before is as it was.
        """
        from .onnx_export import export_onnx

        export_onnx(self, path)


def load(path: str | PathLike[str]) -> SoftmaxClassifier:
    """Return the model that `SoftmaxClassifier.save` has written.

    Predictions, scores, `partial_fit` and warm starts have the bits that those of the saved model have.
    Loading executes nothing of what is in the file.

    Parameters
    ----------
    path : str or path-like
        A file whose name ends in .npz or .safetensors.

    Returns
    -------
    SoftmaxClassifier

    Raises
    ------
    ModelFileError
        If the file is damaged, of a newer version, or no model; the message names it and says why.
    ValueError, TypeError
        If `path` has another suffix or is no path.
    ImportError
        If it is a .safetensors file, and safetensors is not installed.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from fastsoftmax import SoftmaxClassifier, load
    >>> model = SoftmaxClassifier(eta0=0.5).fit([[0.0], [1.0]], ["no", "yes"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model.npz")
    ...     load(f"{folder}/model.npz").predict([[2.0]]).tolist()
    ['yes']
    """
    from ..classifier import SoftmaxClassifier
    from .save_load import load_model

    model: SoftmaxClassifier = load_model(SoftmaxClassifier, path)
    return model
