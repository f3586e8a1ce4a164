# SPDX-License-Identifier: MIT
"""All targets, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from harness import targets
from harness.core.errors import UsageError
from harness.targets.model import DEFAULT_EMULATOR, DEFAULT_TARGET, EMULATORS, Target


def _found() -> Iterator[Target]:
    """Yield the targets that this package's modules define: a new target is a new file."""
    for module in iter_modules(targets.__path__, f"{targets.__name__}."):
        if module.name != __name__:
            yield from (
                one for one in vars(import_module(module.name)).values() if isinstance(one, Target)
            )


# The default target comes first.
TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        one.name: one
        for one in sorted(_found(), key=lambda one: (one.name != DEFAULT_TARGET, one.name))
    }
)


def get_target(name: str, emulator: str = DEFAULT_EMULATOR) -> Target:
    """Return the target called `name`, for `emulator`; UsageError says which names there are."""
    try:
        target = TARGETS[name]
    except KeyError:
        raise UsageError(
            f"no kernel is called {name!r}", hint=f"one of: {', '.join(TARGETS)}"
        ) from None
    if emulator not in EMULATORS:
        raise UsageError(
            f"no emulator is called {emulator!r}", hint=f"one of: {', '.join(EMULATORS)}"
        )
    return target.on(emulator)
