"""Model files: a fitted classifier as tensors and JSON, never as code, and as an ONNX graph.

The modules that write and read them are imported when they are first used.
"""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..classifier import SoftmaxClassifier


class ModelFiles:
    """The methods of a classifier that write it to files and read it from them."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted model to a file, from which `load` restores it to continue with the same bits.

        The file holds tensors and JSON: the parameters of the constructor, the classes, the names of the
        features, the weights, and the state from which `partial_fit` continues (velocities, averages, the
        random generator). It is written beside `path` and then replaces it atomically: if writing fails,
        an existing file is unchanged.

        Some parameters cannot be stored: a callable `learning_rate`, `callbacks`, and a `random_state` that
        is an instance. These are left out with a warning; `load` warns too, and gives them their defaults.
        (`partial_fit` draws from the fitted model's own generator, which is always stored.) Neither
        attributes that a user has added nor requests for scikit-learn's metadata routing are stored.

        Parameters
        ----------
        path : str or path-like
            Ends in ".npz", NumPy's archive, or in ".safetensors" (needs safetensors).

        Raises
        ------
        ValueError, TypeError
            If `path` has another suffix, or a file cannot hold an attribute: weights that are not finite,
            labels of a user-defined type. The message names it.
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

        Nothing in a file is ever executed, and the memory that is allocated is bounded by the size of the
        file. Predictions, scores, `partial_fit` and warm starts have the same bits as those of the saved
        model.

        Parameters
        ----------
        path : str or path-like
            Ends in ".npz" or ".safetensors".

        Returns
        -------
        SoftmaxClassifier
            An object of the class on which `load` is called.

        Raises
        ------
        ValueError
            If `path` has another suffix.
        ModelFileError
            If the file is not a model file, was truncated or changed, has a newer version of the format, or
            its content is not a valid model; the message names the file and the reason.
        ImportError
            If safetensors is needed and not installed.
        OSError
            If the file does not exist or cannot be read.

        Warns
        -----
        UserWarning
            If `save` left out a parameter, which now has its default; the message names it.
        """
        from .save_load import load_model

        model: Self = load_model(cls, path)
        return model

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write the predictions of the fitted model to an ONNX file.

        The graph computes::

            z = X @ coef.T + intercept
            probabilities = softmax(z / temperature);  label = classes[argmax(z)]

        The input is `X`, float32 (N, n_features). The outputs are `label` (N,), strings if the classes are
        strings and int64 if they are integers, booleans or floats, and `probabilities`, float32 (N,
        n_classes) in the order of `classes_`. The graph computes in the dtype of the weights; if that is
        float64, only the probabilities are rounded to float32. Inputs that are not finite, for which
        `predict` raises an error, are not detected by the graph.

        Parameters
        ----------
        path : str or path-like
            Ends in ".onnx".

        Raises
        ------
        ValueError, TypeError
            If `path` has another suffix, the weights are not finite, or a label is neither an int64 nor a
            Unicode string.
        NotFittedError
            If the model is not fitted.
        ImportError
            If onnx is not installed.
        OSError
            If the file cannot be written; an existing file is unchanged.
        """
        from .onnx_export import export_onnx

        export_onnx(self, path)


def load(path: str | PathLike[str]) -> SoftmaxClassifier:
    """Return the model in a file that `SoftmaxClassifier.save` has written.

    Predictions, scores, `partial_fit` and warm starts have the same bits as those of the saved model.
    Loading never executes anything in the file.

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
        If the file is damaged, has a newer version, or is not a model; the message names it and the reason.
    ValueError, TypeError
        If `path` has another suffix or is not a path.
    ImportError
        If the file is a .safetensors file, and safetensors is not installed.
    OSError
        If the file cannot be read.

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
