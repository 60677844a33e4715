"""Delays: three distributions of the seconds that something takes."""

import math
from dataclasses import dataclass
from statistics import NormalDist

MAX_DELAY = 86_400.0
"""The longest delay, in seconds."""

_STANDARD_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ConstantDelay:
    """Every attempt takes the same time, in seconds."""

    seconds: float

    def quantile(self, u: float) -> float:
        """Return the delay, in seconds, whatever `u`."""
        return self.seconds


@dataclass(frozen=True, slots=True)
class UniformDelay:
    """Delays spread evenly from `min` to `max` seconds."""

    min: float
    max: float

    def quantile(self, u: float) -> float:
        """Return the delay, in seconds, below which a share `u` (0 < u < 1) of attempts lies."""
        return self.min + (self.max - self.min) * u


@dataclass(frozen=True, slots=True)
class LognormalDelay:
    """Delays whose logarithm is normal: many short ones, a long tail, cut off at `max` seconds."""

    median: float
    sigma: float
    max: float

    def quantile(self, u: float) -> float:
        """Return the delay, in seconds, below which a share `u` (0 < u < 1) of attempts lies.

        The normal quantile is algorithm AS 241 (Wichura 1988), as in the standard library.
        """
        if self.median == 0 or self.max == 0:
            return 0.0
        # In logarithms, so that no sigma, however large, overflows.
        logarithm = math.log(self.median) + self.sigma * _STANDARD_NORMAL.inv_cdf(u)
        return math.exp(logarithm) if logarithm < math.log(self.max) else self.max


Delay = ConstantDelay | UniformDelay | LognormalDelay
