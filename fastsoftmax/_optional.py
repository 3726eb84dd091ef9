"""Packages that need not be there: they are imported when a function needs them.

An installation that is broken raises whatever it likes: NumPy's `ImportError` and `AttributeError` for a
package compiled for another version of it, `OSError` for a missing shared library, `SystemError`. To who
asked for a package all of these mean the same: it is not available, and the message says why.
"""

from importlib import import_module
from typing import Any

# What `pip install` takes, where that is not the name of the module.
_PACKAGES = {
    "PIL": "Pillow",
    "dask": "dask[array,dataframe,distributed]",
    "sklearn": "scikit-learn",
}


def import_optional(module: str, needed_by: str) -> Any:
    """Import and return a module that need not be installed.

    Parameters
    ----------
    module : str
        Its name, such as "matplotlib.figure".
    needed_by : str
        The first words of the message, such as "plots need".

    Raises
    ------
    ImportError
        If that fails, whatever it raised; the message says why, and what to install.
    """
    try:
        return _imported(module)
    except Exception as error:
        raise unavailable(module, needed_by, error) from error


def unavailable(module: str, needed_by: str, error: Exception) -> ImportError:
    """Return the error to raise where importing a module has raised `error`."""
    name = _package_of(module).partition("[")[0]
    return ImportError(f"{needed_by} {name}, which is not available: {reason_of(error, module)}")


def why_missing(module: str) -> str | None:
    """Return why a module cannot be imported and what to install, or None where it can."""
    try:
        _imported(module)
    except Exception as error:
        return reason_of(error, module)
    return None


def _imported(module: str) -> Any:
    import_module(
        module.partition(".")[0]
    )  # first, also where a part of it has been imported before
    return import_module(module)


def reason_of(error: Exception, module: str) -> str:
    """Return why importing a module has raised `error`, and what to install, on one line."""
    package = _package_of(module)
    if "[" in package:  # which shells would expand
        package = f'"{package}"'
    upgrade = "" if isinstance(error, ModuleNotFoundError) else "--upgrade "
    return f"{cause_of(error)}; pip install {upgrade}{package}"


def cause_of(error: Exception) -> str:
    """Return the error's text on one line, with its type unless that adds nothing."""
    text = " ".join(str(error).split())
    if isinstance(error, ModuleNotFoundError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _package_of(module: str) -> str:
    """Return what `pip install` calls the package that a module is part of."""
    top = module.partition(".")[0]
    return _PACKAGES.get(top, top)
