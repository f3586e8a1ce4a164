# SPDX-License-Identifier: MIT
"""Kconfig fragments and `.config` files as data: parsed, merged, compared.

A value is the text after the `=`; `n` stands for `# CONFIG_X is not set`, and for a symbol that
a `.config` does not mention, which means the same.

A later fragment wins over an earlier one: its line over the line of the same symbol, and its
member of a Kconfig choice over the choice's other members. Which symbols form a choice is read
from the kernel's own Kconfig files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import KconfigError

_SET = re.compile(r"(CONFIG_[A-Za-z0-9_]+)=(.+)")
_NOT_SET = re.compile(r"# (CONFIG_[A-Za-z0-9_]+) is not set")
# In a fragment such a line would be taken for a comment, and silently ignored.
_NEARLY_NOT_SET = re.compile(r"#\s*CONFIG_[A-Za-z0-9_]+\s*(is\b.*|=.*)")

# The parts of Kconfig's language that are read.
_SOURCE = re.compile(r"\s*source\s+\"?([^\s\"]+)\"?\s*")
_DEFINES = re.compile(r"\s*(?:menu)?config\s+(\w+)\s*(?:#.*)?")
_CHOICE = re.compile(r"\s*choice(?:\s+\w+)?\s*(?:#.*)?")
_END_CHOICE = re.compile(r"\s*endchoice\b.*")
# How many places of a symbol an error names.
_PLACES = 2


@dataclass(frozen=True)
class Fragment:
    """The Kconfig lines of one file, called `name`."""

    name: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Symbols:
    """The symbols of a kernel's Kconfig files: where each is defined, and the choices."""

    places: Mapping[str, Sequence[str]]
    choices: Sequence[frozenset[str]]

    def rivals(self, symbol: str) -> frozenset[str]:
        """Return the other members of the choices that `symbol` belongs to."""
        found = [choice for choice in self.choices if symbol in choice]
        return frozenset().union(*found) - {symbol}


@dataclass(frozen=True)
class Dropped:
    """A line that was requested, and what Kconfig made of it."""

    symbol: str
    requested: str
    got: str
    # The name of the fragment that requested it.
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.origin}: {config_line(self.symbol, self.requested)} (got: {self.got})"


def config_line(symbol: str, value: str) -> str:
    """Return the line of a `.config` that gives `symbol` its value."""
    return f"# {symbol} is not set" if value == "n" else f"{symbol}={value}"


def parse_config(text: str) -> dict[str, str]:
    """Return the values in a `.config` that Kconfig wrote; other lines are ignored."""
    return dict(filter(None, map(_setting, text.splitlines())))


def _setting(line: str) -> tuple[str, str] | None:
    """Return the symbol and the value that a line gives it; None for another line."""
    if found := _SET.fullmatch(line):
        return found[1], found[2]
    if found := _NOT_SET.fullmatch(line):
        return found[1], "n"
    return None


def parse_fragment(text: str, name: str) -> dict[str, str]:
    """Return the values that a fragment requests.

    A fragment is written by people, so more is checked than in a `.config`: a line that is
    neither a value nor a comment, or a symbol with two values, raises a KconfigError that names
    `name` and the line.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.rstrip()
        if (found := _setting(line)) is None:
            if line == "" or (line.startswith("#") and not _NEARLY_NOT_SET.fullmatch(line)):
                continue
            raise KconfigError(
                f"{name}:{number}: not a Kconfig line: {line}",
                hint="CONFIG_X=value, `# CONFIG_X is not set`, or a comment",
            )
        symbol, value = found
        if values.setdefault(symbol, value) != value:
            raise KconfigError(
                f"{name}:{number}: {symbol} is asked to be {values[symbol]} and {value}"
            )
    return values


def format_fragment(values: Mapping[str, str]) -> str:
    """Return the text of a fragment that requests `values`."""
    return "".join(f"{config_line(symbol, value)}\n" for symbol, value in values.items())


def merge(config: str, values: Mapping[str, str]) -> str:
    """Return the text of a `.config` with `values`, which replace its lines for their symbols."""
    kept = [line for line in config.splitlines() if parse_config(line).keys().isdisjoint(values)]
    return "".join(f"{line}\n" for line in kept) + format_fragment(values)


def read_fragment(path: Path) -> Fragment:
    """Return the fragment in a file; KconfigError also if the file is not text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise KconfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KconfigError(f"{path} is not text in UTF-8: {error}") from error
    return Fragment(path.name, parse_fragment(text, path.name))


# --- a kernel's Kconfig files -------------------------------------------------


def read_symbols(tree: Path, arch: str) -> Symbols:
    """Return the symbols of the kernel in `tree` for the architecture `arch`."""
    places: dict[str, list[str]] = {}
    choices: list[frozenset[str]] = []
    members: set[str] | None = None
    for place, line in _kconfig_lines(tree, "Kconfig", arch):
        if found := _DEFINES.fullmatch(line):
            symbol = f"CONFIG_{found[1]}"
            places.setdefault(symbol, []).append(place)
            if members is not None:
                members.add(symbol)
        elif _CHOICE.fullmatch(line):
            members = set()
        elif members is not None and _END_CHOICE.fullmatch(line):
            choices.append(frozenset(members))
            members = None
    return Symbols(places, choices)


def _kconfig_lines(tree: Path, name: str, arch: str) -> Iterator[tuple[str, str]]:
    """Yield the lines of a Kconfig file and of the files that it sources, with their places."""
    for variable in ("$(SRCARCH)", "$SRCARCH", "$(ARCH)", "$ARCH"):
        name = name.replace(variable, arch)
    try:
        lines = (tree / name).read_text(errors="replace").splitlines()
    except OSError:
        # A help text that only looks like a source line, or another architecture's file.
        return
    for number, line in enumerate(lines, start=1):
        if found := _SOURCE.fullmatch(line):
            yield from _kconfig_lines(tree, found[1], arch)
        else:
            yield f"{name}:{number}", line


# --- requested lines ----------------------------------------------------------


def settle(fragments: Sequence[Fragment], symbols: Symbols) -> dict[str, str]:
    """Return the lines to request from Kconfig: those that no later fragment overrides.

    Raises KconfigError if one fragment requests two members of a choice.
    """
    requested: dict[str, str] = {}
    for fragment in fragments:
        _check_choices(fragment, symbols)
        for symbol, value in fragment.values.items():
            for rival in symbols.rivals(symbol) if value == "y" else ():
                if requested.get(rival) == "y":
                    del requested[rival]
            requested[symbol] = value
    return requested


def _check_choices(fragment: Fragment, symbols: Symbols) -> None:
    """Raise KconfigError if a fragment requests two members of a choice."""
    chosen = [symbol for symbol, value in fragment.values.items() if value == "y"]
    for symbol in chosen:
        rivals = [rival for rival in chosen if rival in symbols.rivals(symbol)]
        if rivals:
            raise KconfigError(
                f"{fragment.name} asks for {symbol} and {rivals[0]}, of which a kernel has one",
                hint="they are members of one Kconfig choice: leave one of the lines",
            )


def unchosen(requested: Mapping[str, str], config: str, symbols: Symbols) -> dict[str, str]:
    """Return the symbols to switch off, because another member of their choice is requested."""
    now = parse_config(config)
    chosen = [symbol for symbol, value in requested.items() if value == "y"]
    rivals = frozenset().union(*(symbols.rivals(symbol) for symbol in chosen))
    return {rival: "n" for rival in sorted(rivals) if now.get(rival) == "y"}


def dropped(requested: Mapping[str, str], config: str) -> list[Dropped]:
    """Return the requested values that a finished `.config` does not have."""
    got = parse_config(config)
    return [
        Dropped(symbol, value, got.get(symbol, "n"))
        for symbol, value in requested.items()
        if got.get(symbol, "n") != value
    ]


def check_survived(
    requested: Mapping[str, str], config: str, fragments: Sequence[Fragment], symbols: Symbols
) -> None:
    """Raise a KconfigError that lists the requested lines that Kconfig dropped, and why.

    `fragments` are the origins of the lines: if several have a line, the last one is named.
    `symbols` are the kernel's.
    """
    origins = {symbol: part.name for part in fragments for symbol in part.values}
    lost = [replace(line, origin=origins[line.symbol]) for line in dropped(requested, config)]
    if lost:
        raise KconfigError(
            f"Kconfig dropped {len(lost)} of {len(requested)} requested lines",
            tail="\n".join(str(line) for line in lost),
            hint=_why(lost, fragments, symbols),
        )


def _why(lost: Sequence[Dropped], fragments: Sequence[Fragment], symbols: Symbols) -> str:
    """Return what to do about the dropped lines."""
    unknown = [line.symbol for line in lost if line.symbol not in symbols.places]
    if unknown:
        return f"this kernel has no {', '.join(unknown)}: look for the name in its Kconfig files"
    last = fragments[-1].name
    if all(line.origin != last for line in lost):
        lines = ", ".join(f"`{config_line(line.symbol, line.got)}`" for line in lost)
        return f"{last} has switched off what these depend on; if that is meant add to it: {lines}"
    places = {
        line.symbol: " and ".join(symbols.places[line.symbol][:_PLACES])
        for line in lost
        if line.origin == last
    }
    named = ", ".join(f"{symbol}: {place}" for symbol, place in places.items())
    return f"what these depend on is off, or another line selects them; see {named}"
