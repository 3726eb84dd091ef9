"""The names of the backends, and the one way to get one."""

from importlib import import_module
from types import MappingProxyType
from typing import cast

from . import forking
from .protocol import Backend, Shortcuts

# In the order of preference of "auto", with what to install where the import fails.
_MODULES = MappingProxyType(
    {
        "compiled": (
            "fastsoftmax.backends.compiled",
            "reinstall fastsoftmax with a C compiler and without FASTSOFTMAX_PURE set",
        ),
        "vectorized": ("fastsoftmax.backends.vectorized", "reinstall fastsoftmax"),
        "numba": ("fastsoftmax.backends.numba_loops", 'pip install "fastsoftmax[numba]"'),
        "naive": ("fastsoftmax.backends.naive", ""),
    }
)
# numba is taken only where it is asked for: its first call compiles, for seconds.
_AUTO = tuple(name for name in _MODULES if name != "numba")

NAMES = tuple(_MODULES)
_loaded: dict[str, Backend] = {}
_shortcuts: dict[str, Shortcuts] = {}


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
        raise ValueError(f"backend: expected one of {', '.join(('auto', *NAMES))}; got {name!r}")
    if name in _loaded:
        return _loaded[name]
    if name == "auto":
        for candidate in _AUTO:
            if why_unavailable(candidate) is None:
                _keep("auto", get_backend(candidate))
                break
        return _loaded["auto"]
    reason = why_unavailable(name)
    if reason is not None:
        raise ImportError(f"backend: {name!r} is not available: {reason}")
    return _loaded[name]


def why_unavailable(name: str) -> str | None:
    """Return why the backend `name` cannot be used and what to install, or None where it can."""
    if name in _loaded:
        return None
    module, remedy = _MODULES[name]
    try:
        with forking.lock:
            backend = cast(Backend, import_module(module))  # a test compares the signatures
    except ImportError as error:
        return f"{error}; {remedy}"
    _keep(name, backend)
    return None


def _keep(name: str, backend: Backend) -> None:
    _loaded[name] = backend
    if hasattr(backend, "mean_cross_entropy"):
        _shortcuts[name] = cast(Shortcuts, backend)


def shortcuts_of(name: object) -> Shortcuts | None:
    """Return the backend of that name if it has shortcuts and has been used before."""
    try:
        return _shortcuts[name]  # type: ignore[index]  # a small call's time is short: no check before
    except (KeyError, TypeError):
        return None
