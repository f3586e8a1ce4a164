# SPDX-License-Identifier: MIT
"""The benchmark's arithmetic: ratios with how sure they are."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

# So that the same values always give the same interval.
_SEED = 5
_RESAMPLES = 2000
_CONFIDENCE = 0.95
# Standard errors on either side of a mean that hold it in 95 of 100 cases.
_Z = 1.96


@dataclass(frozen=True)
class Estimate:
    """A value, and between what it may lie."""

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far it may be off, in the worse direction."""
        return max(self.high - self.value, self.value - self.low)


def ratio(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """The ratio of two means, between the smallest and the largest of the single ratios.

    What stands in the same place was measured in the same order of things, on
    which a kernel's caches depend; where there are fewer of one, the rest of the
    other is left out.
    """
    pairs = list(zip(values, base, strict=False))
    ratios = [one / other for one, other in pairs]
    value = fmean(one for one, _ in pairs) / fmean(other for _, other in pairs)
    return Estimate(value, min(ratios), max(ratios))


def paired_ratio(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """The geometric mean of the rounds' ratios, with its 95 % interval, by bootstrap.

    A value and its base are of the same round: what slowed down both does not count.
    """
    logs = [math.log(one / other) for one, other in zip(values, base, strict=True)]
    resampled = bootstrap_means(logs)
    return Estimate(
        math.exp(fmean(logs)),
        math.exp(percentile(resampled, (1 - _CONFIDENCE) / 2)),
        math.exp(percentile(resampled, (1 + _CONFIDENCE) / 2)),
    )


def bootstrap_means(values: Sequence[float]) -> list[float]:
    """The means of random samples, with repetition, of the values."""
    chance = random.Random(_SEED)  # noqa: S311 - nothing secret
    return [fmean(chance.choices(values, k=len(values))) for _ in range(_RESAMPLES)]


def mean(values: Sequence[float]) -> Estimate:
    """The mean, and what lies within two standard errors of it."""
    middle = fmean(values)
    error = _Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(middle, middle - error, middle + error)


def exactly(value: float) -> Estimate:
    """What was counted, and not estimated."""
    return Estimate(value, value, value)


def share(count: int, of: int) -> Estimate:
    """How many of a sample, between what the share of all may be: Wilson's interval.

    E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927).
    """
    found, weight = count / of, _Z**2 / of
    middle = (found + weight / 2) / (1 + weight)
    reach = _Z * math.sqrt(found * (1 - found) / of + weight / (4 * of)) / (1 + weight)
    # It holds what was found; at the ends of the scale it does so but for rounding.
    low, high = min(middle - reach, found), max(middle + reach, found)
    return Estimate(found, max(low, 0.0), min(high, 1.0))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values is; between two it is in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
