# SPDX-License-Identifier: MIT
"""Kconfig lines: parsing, merging, and noticing what was dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import KconfigError
from harness.kconfig import (
    check_survived,
    config_line,
    dropped,
    format_fragment,
    merge,
    parse_config,
    parse_fragment,
)
from harness.targets import TARGETS, Target

symbols = st.from_regex(r"CONFIG_[A-Z0-9_]{1,12}", fullmatch=True)
texts = st.text(st.characters(codec="ascii", exclude_categories=["C"]), max_size=8)
values = st.one_of(
    st.sampled_from(["y", "m", "n"]), st.integers().map(str), texts.map('"{}"'.format)
)
configs = st.dictionaries(symbols, values, max_size=8)


@given(configs)
def test_what_is_written_is_read_back(values: dict[str, str]) -> None:
    assert parse_fragment(format_fragment(values), "x") == values
    assert parse_config(format_fragment(values)) == values


@given(configs, configs)
def test_a_merge_has_every_requested_value_and_keeps_the_others(
    config: dict[str, str], requested: dict[str, str]
) -> None:
    merged = merge("# a comment\n" + format_fragment(config), requested)
    assert merged.startswith("# a comment\n")
    assert parse_config(merged) == {**config, **requested}
    assert dropped(requested, merged) == []


@given(configs, st.data())
def test_every_line_that_is_gone_or_changed_is_listed(
    requested: dict[str, str], data: st.DataObject
) -> None:
    lost = data.draw(st.sets(st.sampled_from(sorted(requested)))) if requested else set()
    left = {symbol: value for symbol, value in requested.items() if symbol not in lost}
    found = {line.symbol for line in dropped(requested, format_fragment(left))}
    # A symbol that is asked to be off may well not be mentioned.
    assert found == {symbol for symbol in lost if requested[symbol] != "n"}


def test_comments_give_reasons_and_are_no_requests() -> None:
    text = "# Why.\nCONFIG_A=y\n\n# CONFIG_B is not set\n# CONFIG_C would be slow.\n"
    assert parse_fragment(text, "x") == {"CONFIG_A": "y", "CONFIG_B": "n"}


@pytest.mark.parametrize(
    "line",
    ["CONFIG_A = y", "CONFIG_A", "A=y", "#CONFIG_A is not set", "# CONFIG_A=y", "CONFIG_A=", " x"],
)
def test_a_line_that_would_be_lost_is_refused(line: str) -> None:
    with pytest.raises(KconfigError, match=r"^f\.config:2: not a Kconfig line"):
        parse_fragment(f"# fine\n{line}\n", "f.config")


def test_a_symbol_with_two_values_is_refused() -> None:
    with pytest.raises(KconfigError, match="f:2: CONFIG_A is asked to be y and n"):
        parse_fragment("CONFIG_A=y\n# CONFIG_A is not set\n", "f")


def test_dropped_lines_are_listed_with_what_came_instead() -> None:
    requested = {"CONFIG_A": "y", "CONFIG_B": "20", "CONFIG_C": "n", "CONFIG_D": "y"}
    with pytest.raises(KconfigError) as caught:
        check_survived(requested, "CONFIG_A=m\nCONFIG_B=17\n# CONFIG_C is not set\nCONFIG_D=y\n")
    assert caught.value.message == "Kconfig dropped 2 of 4 requested lines"
    assert caught.value.tail == "CONFIG_A=y (got: m)\nCONFIG_B=20 (got: 17)"


def test_the_line_of_a_value() -> None:
    assert config_line("CONFIG_A", "n") == "# CONFIG_A is not set"
    assert config_line("CONFIG_A", '"x"') == 'CONFIG_A="x"'


@pytest.mark.parametrize(
    "target",
    [target.on(emulator) for target in TARGETS.values() for emulator in target.boards],
    ids=lambda target: f"{target.name}-{target.emulator}",
)
def test_the_fragments_of_the_targets_are_read(target: Target) -> None:
    requested: dict[str, str] = {}
    for fragment in target.fragments:
        requested.update(parse_fragment(fragment.read_text(), fragment.name))
    assert requested["CONFIG_MM_LIMITS"] == "y"
    assert requested["CONFIG_MODULES"] == "y"
