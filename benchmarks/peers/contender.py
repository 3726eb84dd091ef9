"""What every contender has, and why one may be missing."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import ClassVar, TypeVar


class Contender:
    """Somebody who does the work that is timed."""

    name: ClassVar[str]
    # What must be installed: module, and the name of its package.
    needs: ClassVar[dict[str, str]] = {}

    @classmethod
    def why_missing(cls) -> str | None:
        """Return what to install, or None where nothing is missing."""
        packages = [package for module, package in cls.needs.items() if find_spec(module) is None]
        if not packages:
            return None
        return f"needs {', '.join(packages)}: pip install {' '.join(packages)}"


SomeContender = TypeVar("SomeContender", bound=Contender)


def present_and_missing(
    contenders: Sequence[type[SomeContender]],
) -> tuple[list[type[SomeContender]], dict[str, str]]:
    """Return those that can run, and the reasons against the others by name."""
    missing = {c.name: why for c in contenders if (why := c.why_missing()) is not None}
    return [c for c in contenders if c.name not in missing], missing
