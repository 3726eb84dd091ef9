"""The names of the backends, and access to them by name."""

from importlib import import_module
from types import MappingProxyType
from typing import cast

from .._optional import cause_of, reason_of
from . import forking
from .protocol import Backend, FastPaths

# In the order of preference of "auto": the module, and the remedy if its import fails; None if the remedy
# is to install the package of the backend's name.
_MODULES = MappingProxyType(
    {
        "compiled": (
            "fastsoftmax.backends.compiled",
            "reinstall fastsoftmax with a C compiler and without FASTSOFTMAX_PURE set",
        ),
        "vectorized": ("fastsoftmax.backends.vectorized", "reinstall fastsoftmax"),
        "numba": ("fastsoftmax.backends.numba_loops", None),
        "naive": ("fastsoftmax.backends.naive", "reinstall fastsoftmax"),
    }
)
# "auto" never selects numba: its first call compiles, for seconds.
_AUTO = tuple(name for name in _MODULES if name != "numba")

NAMES = tuple(_MODULES)
_loaded: dict[str, Backend] = {}
# The backends that have fast paths and have been used before, for small calls.
fast_paths: dict[str, FastPaths] = {}


def get_backend(name: str = "auto") -> Backend:
    """Return a backend by its name.

    Parameters
    ----------
    name : {"auto", "compiled", "vectorized", "numba", "naive"}
        "auto" is the first available of compiled, vectorized and naive.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    ImportError
        If the backend is not installed; the message says what to install.
    """
    if not isinstance(name, str) or name not in ("auto", *_MODULES):
        given = repr(str(name) if isinstance(name, str) else name)  # not np.str_('name')
        raise ValueError(f"backend: expected one of {', '.join(('auto', *NAMES))}; got {given}")
    if name in _loaded:
        return _loaded[name]
    if name == "auto":
        for candidate in _AUTO:
            if why_unavailable(candidate) is None:
                _keep("auto", get_backend(candidate))
                break
        return _loaded["auto"]
    error = _import_error(name)
    if error is not None:
        raise ImportError(f"backend: {name!r} is not available: {_why(name, error)}") from error
    return _loaded[name]


def why_unavailable(name: str) -> str | None:
    """Return why the backend `name` cannot be used and what to install; None if it can be used.

    Raises
    ------
    ValueError
        If FASTSOFTMAX_ISA or FASTSOFTMAX_STEP has a value that the compiled backend does not know.
    """
    error = _import_error(name)
    return None if error is None else _why(name, error)


def _import_error(name: str) -> Exception | None:
    """Import a backend, and return the exception if that fails: a broken package may raise any."""
    if name in _loaded:
        return None
    try:
        with forking.lock:
            module = import_module(_MODULES[name][0])
        backend = cast(Backend, module)  # a test compares the signatures
    except Exception as error:
        if name == "compiled" and isinstance(error, ValueError):  # of an environment variable
            raise
        return error
    _keep(name, backend)
    return None


def _why(name: str, error: Exception) -> str:
    remedy = _MODULES[name][1]
    return reason_of(error, name) if remedy is None else f"{cause_of(error)}; {remedy}"


def _keep(name: str, backend: Backend) -> None:
    _loaded[name] = backend
    if hasattr(backend, "mean_cross_entropy"):
        fast_paths[name] = cast(FastPaths, backend)
