"""The state of a random generator as JSON."""

from __future__ import annotations  # they name np.random, which is imported on first use

from typing import Any

import numpy as np

# The bit generator of NumPy's default_rng, and the number of bits of each part; the increment is odd.
_NAME = "PCG64"
_BITS = {"state": 128, "inc": 128, "has_uint32": 1, "uinteger": 32}


def generator_state(random: np.random.Generator) -> dict[str, Any]:
    """Return the state of a generator, from which `generator_from` restores it.

    Raises
    ------
    TypeError
        If its bit generator is not the classifier's.
    """
    state: Any = random.bit_generator.state
    if state["bit_generator"] != _NAME:
        raise TypeError(f"_random: expected a {_NAME}, got {state['bit_generator']}")
    return {**state["state"], "has_uint32": state["has_uint32"], "uinteger": state["uinteger"]}


def generator_from(state: Any) -> np.random.Generator:
    """Return a generator with the state that `generator_state` has returned.

    Raises
    ------
    ValueError
        If the state is invalid.
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
