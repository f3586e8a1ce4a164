# SPDX-License-Identifier: MIT
"""Kconfig lines: parsing, merging, and noticing what was dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.build.kconfig import (
    Fragment,
    Symbols,
    check_survived,
    dropped,
    format_fragment,
    merge,
    parse_config,
    parse_fragment,
    read_fragment,
    read_symbols,
    settle,
    unchosen,
)
from harness.core.errors import KconfigError
from harness.targets.model import Target
from harness.targets.table import TARGETS

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


LOST = [
    "CONFIG_A = y",
    "CONFIG_A",
    "A=y",
    "#CONFIG_A is not set",
    "# CONFIG_A=y",
    "CONFIG_A=",
    " x",
]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        *((line, "not a Kconfig line") for line in LOST),
        ("# CONFIG_B is not set", "CONFIG_B is asked to be y and n"),
    ],
)
def test_a_line_that_would_be_lost_is_refused(line: str, message: str) -> None:
    with pytest.raises(KconfigError, match=rf"^f\.config:2: {message}"):
        parse_fragment(f"CONFIG_B=y\n{line}\n", "f.config")


# --- what became of it ----------------------------------------------------------

OURS = Fragment("fragment.config", {"CONFIG_A": "y", "CONFIG_B": "20", "CONFIG_C": "n"})
USERS = Fragment("mine.config", {"CONFIG_D": "y", "CONFIG_B": "30"})
NAMES = ("CONFIG_A", "CONFIG_B", "CONFIG_C", "CONFIG_D")
SYMBOLS = Symbols({name: [f"Kconfig:{number}"] for number, name in enumerate(NAMES)}, [])


@pytest.mark.parametrize(
    ("config", "fragments", "tail", "hint"),
    [
        (
            "CONFIG_A=m\nCONFIG_B=17\nCONFIG_D=y\n",
            (OURS, USERS),
            "fragment.config: CONFIG_A=y (got: m)\nmine.config: CONFIG_B=30 (got: 17)",
            "is off, or another line selects them; see CONFIG_B: Kconfig:1",
        ),
        # The user's line costs one of ours.
        (
            "CONFIG_B=30\nCONFIG_D=y\n",
            (OURS, USERS),
            "fragment.config: CONFIG_A=y (got: n)",
            (
                "mine.config has switched off what these depend on;"
                " if that is meant add to it: `# CONFIG_A is not set`"
            ),
        ),
        (
            "",
            (Fragment("x", {"CONFIG_KASANN": "y"}),),
            "x: CONFIG_KASANN=y (got: n)",
            "this kernel has no CONFIG_KASANN: ",
        ),
    ],
)
def test_dropped_lines_are_listed_with_what_came_instead(
    config: str, fragments: tuple[Fragment, ...], tail: str, hint: str
) -> None:
    requested = settle(fragments, SYMBOLS)
    lost = len(tail.splitlines())
    with pytest.raises(KconfigError, match=f"dropped {lost} of {len(requested)} ") as caught:
        check_survived(requested, config, fragments, SYMBOLS)
    assert caught.value.tail == tail
    assert hint in caught.value.hint


# --- choices --------------------------------------------------------------------

MAIN = """\
source "kernel/Kconfig.hz"
source "arch/$(SRCARCH)/Kconfig"
source "arch/$SRCARCH/Kconfig.old"
config A
	bool
	help
		The usual
		choice and no other, of one
		source or another.
config B # behind the help
"""
HZ = """\
choice
	prompt "Timer frequency"
	default HZ_250

	config HZ_250
		bool "250 HZ"
	if FAST
	config HZ_1000
		bool "1000 HZ"
	endif
endchoice # HZ
"""
ARM = 'choice SPLIT\nsource "arch/arm/Kconfig.split"\nendchoice\nmenuconfig C\nconfig NR_CPUS\n'


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "Kconfig": MAIN,
        "kernel/Kconfig.hz": HZ,
        "arch/arm/Kconfig": ARM,
        "arch/arm/Kconfig.split": "config SPLIT_2G\nconfig SPLIT_3G\n",
        "arch/arm/Kconfig.old": "choice\nconfig HZ_1000\nconfig HZ_7\nendchoice\n",
        "arch/x86/Kconfig": "choice\nconfig A\nconfig B\nendchoice\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_symbols_and_choices_of_a_kernel_are_read(tree: Path) -> None:
    symbols = read_symbols(tree, "arm")
    assert {symbol: list(places) for symbol, places in symbols.places.items()} == {
        "CONFIG_HZ_250": ["kernel/Kconfig.hz:5"],
        "CONFIG_HZ_1000": ["kernel/Kconfig.hz:8", "arch/arm/Kconfig.old:2"],
        "CONFIG_SPLIT_2G": ["arch/arm/Kconfig.split:1"],
        "CONFIG_SPLIT_3G": ["arch/arm/Kconfig.split:2"],
        "CONFIG_C": ["arch/arm/Kconfig:4"],
        "CONFIG_NR_CPUS": ["arch/arm/Kconfig:5"],
        "CONFIG_HZ_7": ["arch/arm/Kconfig.old:3"],
        "CONFIG_A": ["Kconfig:4"],
        "CONFIG_B": ["Kconfig:10"],
    }
    assert symbols.rivals("CONFIG_HZ_1000") == {"CONFIG_HZ_250", "CONFIG_HZ_7"}
    assert symbols.rivals("CONFIG_SPLIT_2G") == {"CONFIG_SPLIT_3G"}
    assert symbols.rivals("CONFIG_A") == frozenset()


@pytest.mark.parametrize(
    ("fragments", "settled"),
    [
        (["CONFIG_HZ_250=y\n", "CONFIG_HZ_1000=y\n"], "CONFIG_HZ_1000=y\n"),
        (["CONFIG_HZ_250=y\n", "CONFIG_HZ_1000=y\n", "CONFIG_HZ_250=y\n"], "CONFIG_HZ_250=y\n"),
        (
            ["CONFIG_HZ_250=y\n", "# CONFIG_HZ_250 is not set\nCONFIG_HZ_1000=y\n"],
            "# CONFIG_HZ_250 is not set\nCONFIG_HZ_1000=y\n",
        ),
        (["CONFIG_HZ_250=y\n", "# CONFIG_HZ_250 is not set\n"], "# CONFIG_HZ_250 is not set\n"),
        (
            ["CONFIG_HZ_250=y\n", "# CONFIG_HZ_1000 is not set\n"],
            "CONFIG_HZ_250=y\n# CONFIG_HZ_1000 is not set\n",
        ),
        (
            ["CONFIG_A=y\nCONFIG_HZ_250=y\n", "CONFIG_B=y\n"],
            "CONFIG_A=y\nCONFIG_HZ_250=y\nCONFIG_B=y\n",
        ),
    ],
)
def test_a_later_fragment_wins_over_a_whole_choice(
    tree: Path, fragments: list[str], settled: str
) -> None:
    parts = [Fragment("f", parse_fragment(text, "f")) for text in fragments]
    assert format_fragment(settle(parts, read_symbols(tree, "arm"))) == settled


def test_what_a_defconfig_has_chosen_is_switched_off(tree: Path) -> None:
    symbols = read_symbols(tree, "arm")
    config = "CONFIG_HZ_250=y\n# CONFIG_HZ_7 is not set\nCONFIG_SPLIT_2G=y\n"
    assert unchosen({"CONFIG_HZ_1000": "y"}, config, symbols) == {"CONFIG_HZ_250": "n"}
    assert unchosen({"CONFIG_HZ_1000": "n", "CONFIG_A": "y"}, config, symbols) == {}


# --- a user's file --------------------------------------------------------------


def test_a_file_of_another_system_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.config"
    file.write_bytes(b"\xef\xbb\xbfCONFIG_A=y\r\n# CONFIG_B is not set\r\n")
    assert read_fragment(file) == Fragment("mine.config", {"CONFIG_A": "y", "CONFIG_B": "n"})


def test_a_file_that_is_no_text_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.config"
    file.write_bytes(b"# gr\xfcn\nCONFIG_A=y\n")
    with pytest.raises(KconfigError, match=r"mine\.config is not text in UTF-8"):
        read_fragment(file)
    with pytest.raises(KconfigError, match=r"none cannot be read: No such file"):
        read_fragment(tmp_path / "none")


@pytest.mark.parametrize(
    "target",
    [target.on(emulator) for target in TARGETS.values() for emulator in target.boards],
    ids=lambda target: f"{target.name}-{target.emulator}",
)
def test_the_fragments_of_the_targets_are_read(target: Target) -> None:
    requested: dict[str, str] = {}
    for fragment in target.fragments:
        requested.update(read_fragment(fragment).values)
    assert requested["CONFIG_MM_LIMITS"] == "y"
    assert requested["CONFIG_MODULES"] == "y"
