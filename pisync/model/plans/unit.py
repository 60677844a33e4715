"""Random bits as a number: what every generator here makes of a digest."""


def unit(word: int) -> float:
    """Map 64 bits to the middle of one of 2^52 equal cells of (0, 1): never 0, never 1."""
    return ((word >> 12) + 0.5) * 2.0**-52
