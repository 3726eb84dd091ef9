"""JSON as model files have it: no member twice, and numbers that are finite."""

import json
from typing import Any, NoReturn


def written(value: Any) -> str:
    """Return `value` as JSON in ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def parsed(text: bytes, what: str) -> Any:
    """Return what JSON says.

    Raises
    ------
    ValueError
        If it is no JSON, nests too deep, or holds a member twice or a constant that JSON has not.
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
            raise ValueError(f"holds {name[:80]!r} twice")
        members[name] = value
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"holds {name}, which is no number")
