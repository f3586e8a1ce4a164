# SPDX-License-Identifier: MIT
"""What happens in a cluster while a sweep runs: its engine is told of it in this form."""

from __future__ import annotations

from dataclasses import dataclass

from harness.sweep.announced import Seen
from harness.sweep.work import Ended


@dataclass(frozen=True)
class Started:
    """An order has begun on a worker."""

    key: str


@dataclass(frozen=True)
class Asked:
    """A worker wants a bundle."""

    address: str
    sha256: str


@dataclass(frozen=True)
class Finished:
    """What came of an order."""

    key: str
    ended: Ended


@dataclass(frozen=True)
class Over:
    """Nothing of an order runs any more on its worker; its result may still be on its way."""

    key: str


@dataclass(frozen=True)
class Lost:
    """The worker of an order has gone; or the order failed there, which `why` explains."""

    key: str
    why: str = ""


@dataclass(frozen=True)
class Workers:
    """The workers that there are now."""

    seen: tuple[Seen, ...]


@dataclass(frozen=True)
class Gone:
    """The scheduler does not answer any more. There will be no further happenings."""


Happening = Started | Asked | Finished | Over | Lost | Workers | Gone
