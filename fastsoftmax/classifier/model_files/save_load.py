"""Save models to files and load them: the choice of the format, and the errors for invalid files."""

import stat
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

from ...exceptions import ModelFileError
from ...persistence import npz, safe_tensors
from ...persistence.atomic import write_atomically
from ...persistence.strict_json import written
from ..fitted_model import snapshot_of
from .contents import Model, attributes_of, contents_of, model_of

# The module that writes and reads each suffix.
FORMATS: dict[str, Any] = {".npz": npz, ".safetensors": safe_tensors}
_MAX_REASON_LENGTH = 400


def save_model(model: Any, path: str | PathLike[str]) -> None:
    """Write a model to a file; see `ModelFiles.save`."""
    model = snapshot_of(model)
    file = path_of(path, FORMATS)
    file_format = FORMATS[file.suffix.lower()]
    file_format.require()
    contents, left_out = contents_of(model)
    text = written(contents.metadata)
    attributes_of(contents)  # raises if `load` would refuse the file
    if left_out:
        warnings.warn(
            f"{', '.join(left_out)}: not stored, as a file holds neither code nor objects; "
            "`load` will set the default",
            UserWarning,
            stacklevel=3,
        )
    write_atomically(file, file_format.pack(text, contents.tensors))


def load_model(cls: Any, path: str | PathLike[str]) -> Any:
    """Return the model in a file as one of the class `cls`; see `ModelFiles.load`."""
    file = path_of(path, FORMATS)
    file_format = FORMATS[file.suffix.lower()]
    file_format.require()
    data = _bytes_of(file)
    try:
        model = model_of(cls, *file_format.unpack(data))
    except MemoryError:  # a valid file may be too large
        raise
    except ValueError as error:
        raise _refusal(file, str(error)) from None
    except Exception as error:  # a library may raise anything for a damaged file
        raise _refusal(file, f"is damaged: {type(error).__name__}: {error}") from None
    return _made(cls, model, file)


def _made(cls: Any, model: Model, file: Path) -> Any:
    try:
        made = cls(**model.parameters)
    except TypeError as error:  # a subclass with other parameters
        raise ModelFileError(
            f"{file}: {cls.__name__} does not accept its parameters: {error}"
        ) from error
    made.__dict__.update(model.attributes)
    if model.left_out:
        warnings.warn(
            f"{file}: saved without {', '.join(model.left_out)}, which could not be stored: the model has "
            "the default; use set_params to change it before training continues",
            UserWarning,
            stacklevel=4,
        )
    return made


def _refusal(file: Path, reason: str) -> ModelFileError:
    # Some messages of the libraries quote the whole file.
    shown = reason if len(reason) <= _MAX_REASON_LENGTH else f"{reason[:_MAX_REASON_LENGTH]}..."
    return ModelFileError(f"{file}: {shown}")


def path_of(path: Any, suffixes: Any) -> Path:
    """Return `path` as a Path, checked to end in one of the suffixes.

    Raises
    ------
    ValueError, TypeError
        If it has another suffix, or is not a path.
    """
    if not isinstance(path, str | PathLike):
        raise TypeError(f"path: expected a str or a path-like object, got {path!r}")
    file = Path(path)
    if file.suffix.lower() not in suffixes:
        raise ValueError(
            f"path: expected a name that ends in {' or '.join(suffixes)}, got {path!r}"
        )
    return file


def _bytes_of(file: Path) -> bytes:
    mode = file.stat().st_mode
    # Reading a pipe might never end.
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ModelFileError(f"{file}: is not a regular file")
    return file.read_bytes()
