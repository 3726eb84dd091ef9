"""Format numbers for people: three significant digits and a unit."""

from math import floor, log10


def three_digits(number: float) -> str:
    """Return 0.0213, 2.01, 71.2 or 1230: three significant digits, never an exponent."""
    rounded = float(f"{number:.3g}")
    if not rounded:
        return "0"
    return f"{rounded:.{max(0, 2 - floor(log10(abs(rounded))))}f}"


def with_prefix(number: float) -> str:
    """Return 950, 18.9k, 670k or 1.23M."""
    rounded = float(f"{number:.3g}")
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= factor:
            return three_digits(rounded / factor) + prefix
    return three_digits(rounded)


def duration(seconds: float) -> str:
    """Return 0.0851 ms, 71.2 ms, 1.23 s, 6.00 min or 3.51 h."""
    for unit, name in ((3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= unit:
            return f"{three_digits(seconds / unit)} {name}"
    return f"{three_digits(seconds * 1e3)} ms"


def size(n_bytes: float) -> str:
    """Return 512 bytes, 1.50 MiB or 24.0 GiB."""
    for unit, name in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if n_bytes >= unit:
            return f"{three_digits(n_bytes / unit)} {name}"
    return f"{n_bytes:.0f} bytes"


def count(number: int, noun: str) -> str:
    """Return "1 epoch", "2 epochs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
