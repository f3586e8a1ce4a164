# SPDX-License-Identifier: MIT
"""The result of a run of the fuzz test, as fuzz.json has it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from harness.core.typed_json import Count

FUZZ = "fuzz.json"


class FuzzResult(Struct, frozen=True):
    """The rounds that were done, from `seed` on, what they counted, and what was wrong.

    `failed_seed` is the seed of the round that failed; None if none did, or if the problems
    were found behind all rounds.
    """

    seed: Count
    rounds: Count
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    failed_seed: Count | None = field(default=None, name="failed seed")
