"""Strict JSON for model files: no duplicate members, and only finite numbers."""

import json
from typing import Any, NoReturn


def written(value: Any) -> str:
    """Return `value` as JSON in ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def parsed(text: bytes, what: str) -> Any:
    """Return the value of a JSON text.

    Raises
    ------
    ValueError
        If the text is not JSON, nests too deep, or contains a duplicate member, NaN or an infinity.
    """
    try:
        return json.loads(
            text.decode("ascii"), object_pairs_hook=_members, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError(f"{what}: nests too deep") from None
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"contains {name[:80]!r} twice")
        members[name] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"contains {name}, which JSON does not allow")
