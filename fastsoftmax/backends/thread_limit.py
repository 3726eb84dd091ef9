"""threadpoolctl's view of the thread pool: it finds the compiled backend's library, and may limit threads.

The limit takes the place of the default number of threads (`_arrays.threads`); one that is given holds.
threadpoolctl is not imported for it: where it has not been yet, a finder on `sys.meta_path` waits for that.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .._arrays import threads

_NAME = "threadpoolctl"


def announce() -> None:
    """Register the pool with threadpoolctl now, or when that is imported."""
    module = sys.modules.get(_NAME)
    if module is None:
        sys.meta_path.insert(0, _Waiting())
    else:
        _register(module)


def _register(module: Any) -> None:
    if not hasattr(module, "register"):  # before 3.2
        return

    class Controller(module.LibController):  # type: ignore[misc]
        user_api = internal_api = "fastsoftmax"
        filename_prefixes = ("_core.",)
        check_symbols = ("fastsoftmax_thread_pool",)  # others have a library of this name

        def get_num_threads(self) -> int:
            return threads.default_n_threads()

        def set_num_threads(self, num_threads: int) -> None:
            threads.limit_default(num_threads)

        def get_version(self) -> str:
            from .._version import __version__

            return __version__

    module.register(Controller)


class _Waiting:
    """Finds threadpoolctl as the other finders do, and registers the pool once it has been executed."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if name != _NAME or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _register(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
