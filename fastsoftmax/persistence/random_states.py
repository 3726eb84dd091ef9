"""The state of a random generator as JSON."""

from __future__ import annotations  # np.random, imported on first use, stands in them

from typing import Any

import numpy as np

# The one that NumPy's default_rng has, with the bits of its numbers; the increment is odd.
_NAME = "PCG64"
_BITS = {"state": 128, "inc": 128, "has_uint32": 1, "uinteger": 32}


def generator_state(random: np.random.Generator) -> dict[str, Any]:
    """Return the state, as `generator_from` takes it.

    Raises
    ------
    TypeError
        If it is of another kind than a classifier has.
    """
    state: Any = random.bit_generator.state
    if state["bit_generator"] != _NAME:
        raise TypeError(f"_random: expected a {_NAME}, got {state['bit_generator']}")
    return {**state["state"], "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}


def generator_from(state: Any) -> np.random.Generator:
    """Return a generator that goes on from there.

    Raises
    ------
    ValueError
        If that is no state.
    """
    if not isinstance(state, dict) or state.keys() != _BITS.keys():
        raise ValueError(f"random: expected the state of a {_NAME}")
    for name, n_bits in _BITS.items():
        if type(state[name]) is not int or not 0 <= state[name] < 1 << n_bits:
            raise ValueError(
                f"random: expected {name} of {n_bits} bits, got {str(state[name])[:80]}"
            )
    if state["inc"] % 2 == 0:
        raise ValueError("random: expected an odd inc")
    generator = np.random.PCG64(0)
    generator.state = {
        "bit_generator": _NAME,
        "state": {"state": state["state"], "inc": state["inc"]},
        "has_uint32": state["has_uint32"],
        "uinteger": state["uinteger"],
    }
    return np.random.Generator(generator)
