# SPDX-License-Identifier: MIT
"""The benchmark's statistics: values with the intervals in which they lie."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

# Fixed, so that the same values always give the same interval.
_SEED = 5
_RESAMPLES = 2000
_CONFIDENCE = 0.95
# In 95 of 100 cases the true mean is within this many standard errors of the measured one.
_Z = 1.96


@dataclass(frozen=True)
class Estimate:
    """A value, and the interval in which it may lie."""

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far the value may be off, in the worse direction."""
        return max(self.high - self.value, self.value - self.low)


def ratio(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return the ratio of two means; its interval is from the smallest single ratio to the largest.

    Values at the same index were measured at the same place in the order of works, on which
    the state of a kernel's caches depends. If one side has fewer values, the rest of the
    other is left out.
    """
    pairs = list(zip(values, base, strict=False))
    ratios = [one / other for one, other in pairs]
    value = fmean(one for one, _ in pairs) / fmean(other for _, other in pairs)
    return Estimate(value, min(ratios), max(ratios))


def paired_ratio(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return the geometric mean of the rounds' ratios, with its 95 % interval by bootstrap.

    A value and its base are of the same round, so that what slows down both cancels out.
    """
    logs = [math.log(one / other) for one, other in zip(values, base, strict=True)]
    chance = random.Random(_SEED)  # noqa: S311 - nothing secret
    # The means of random samples, drawn with replacement.
    resampled = [fmean(chance.choices(logs, k=len(logs))) for _ in range(_RESAMPLES)]
    return Estimate(
        math.exp(fmean(logs)),
        math.exp(percentile(resampled, (1 - _CONFIDENCE) / 2)),
        math.exp(percentile(resampled, (1 + _CONFIDENCE) / 2)),
    )


def mean(values: Sequence[float]) -> Estimate:
    """Return the mean, with the interval of `_Z` standard errors around it."""
    middle = fmean(values)
    error = _Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Estimate(middle, middle - error, middle + error)


def middle(values: Sequence[float]) -> Estimate:
    """Return the median, with the least and the most."""
    return Estimate(median(values), min(values), max(values))


def exactly(value: float) -> Estimate:
    """Return a value that was counted, not estimated."""
    return Estimate(value, value, value)


def share(count: int, of: int) -> Estimate:
    """Return the share found in a sample, with Wilson's interval for the share of all.

    E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927).
    """
    found, weight = count / of, _Z**2 / of
    middle = (found + weight / 2) / (1 + weight)
    reach = _Z * math.sqrt(found * (1 - found) / of + weight / (4 * of)) / (1 + weight)
    # The interval contains what was found; at the ends of the scale rounding may break that.
    low, high = min(middle - reach, found), max(middle + reach, found)
    return Estimate(found, max(low, 0.0), min(high, 1.0))


def quantile(values: Sequence[float], share: float) -> Estimate:
    """Return a percentile, with the values between which that of all may lie.

    Each value is below it with the chance `share`, so the number of values below is binomial:
    no distribution of the values is assumed. With few values the interval ends with the largest.
    """
    ordered, below = sorted(values), 0.0
    low, high = 0, len(ordered) - 1
    for number in range(len(ordered)):
        below += _binomial(number, len(ordered), share)
        if below <= (1 - _CONFIDENCE) / 2:
            low = number
        elif below >= (1 + _CONFIDENCE) / 2:
            high = number
            break
    value = percentile(values, share)
    # What was found is within the interval, also where there are few values.
    return Estimate(value, min(ordered[low], value), max(ordered[high], value))


def _binomial(number: int, of: int, chance: float) -> float:
    """Return the chance that so many of so many happen, of which each has the same chance."""
    ways = math.lgamma(of + 1) - math.lgamma(number + 1) - math.lgamma(of - number + 1)
    return math.exp(ways + number * math.log(chance) + (of - number) * math.log(1 - chance))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies, with linear interpolation."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
