# SPDX-License-Identifier: MIT
"""Kconfig fragments and `.config` files as data: parsed, merged, compared.

A value is the text behind the `=`; `n` stands for `# CONFIG_X is not set`,
and for a symbol that a `.config` does not mention, which means the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import KconfigError

_SET = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(.+)")
_NOT_SET = re.compile(r"# (CONFIG_[A-Za-z0-9_]+) is not set")
# In a fragment these would be taken for comments, and silently be lost.
_NEARLY_NOT_SET = re.compile(r"#\s*CONFIG_[A-Za-z0-9_]+\s*(is\b.*|=.*)")


@dataclass(frozen=True)
class Dropped:
    """A line that was asked for, and what Kconfig made of it."""

    symbol: str
    requested: str
    got: str

    def __str__(self) -> str:
        return f"{config_line(self.symbol, self.requested)} (got: {self.got})"


def config_line(symbol: str, value: str) -> str:
    """The line of a `.config` that gives `symbol` its value."""
    return f"# {symbol} is not set" if value == "n" else f"{symbol}={value}"


def parse_config(text: str) -> dict[str, str]:
    """The values in a `.config` that Kconfig wrote; what else it holds is ignored."""
    values = {}
    for line in text.splitlines():
        if found := _SET.fullmatch(line):
            values[found[1]] = found[2]
        elif found := _NOT_SET.fullmatch(line):
            values[found[1]] = "n"
    return values


def parse_fragment(text: str, name: str) -> dict[str, str]:
    """The values that a fragment asks for.

    A fragment is written by people, so more is checked than in a `.config`: a
    line that is neither a value nor a comment, or a symbol with two values, is
    a KconfigError that names `name` and the line.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.rstrip()
        found = _SET.fullmatch(line)
        if found is not None:
            symbol, value = found[1], found[2]
        elif (found := _NOT_SET.fullmatch(line)) is not None:
            symbol, value = found[1], "n"
        elif line == "" or (line.startswith("#") and not _NEARLY_NOT_SET.fullmatch(line)):
            continue
        else:
            raise KconfigError(
                f"{name}:{number}: not a Kconfig line: {line}",
                hint="CONFIG_X=value, `# CONFIG_X is not set`, or a comment",
            )
        if values.setdefault(symbol, value) != value:
            raise KconfigError(
                f"{name}:{number}: {symbol} is asked to be {values[symbol]} and {value}"
            )
    return values


def format_fragment(values: Mapping[str, str]) -> str:
    """The text of a fragment that asks for `values`."""
    return "".join(f"{config_line(symbol, value)}\n" for symbol, value in values.items())


def merge(config: str, values: Mapping[str, str]) -> str:
    """A `.config`'s text with `values` in place of, or behind, what it says."""
    kept = [line for line in config.splitlines() if parse_config(line).keys().isdisjoint(values)]
    return "".join(f"{line}\n" for line in kept) + format_fragment(values)


def dropped(requested: Mapping[str, str], config: str) -> list[Dropped]:
    """The requested values that a finished `.config` does not have."""
    got = parse_config(config)
    return [
        Dropped(symbol, value, got.get(symbol, "n"))
        for symbol, value in requested.items()
        if got.get(symbol, "n") != value
    ]


def check_survived(requested: Mapping[str, str], config: str) -> None:
    """Raises a KconfigError that lists what `dropped` finds."""
    if lost := dropped(requested, config):
        raise KconfigError(
            f"Kconfig dropped {len(lost)} of {len(requested)} requested lines",
            tail="\n".join(str(line) for line in lost),
            hint="a dependency of these is off; `/` in `make menuconfig` shows which",
        )
