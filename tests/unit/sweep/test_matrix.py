# SPDX-License-Identifier: MIT
"""A matrix in TOML, and the cells that it expands to."""

from __future__ import annotations

import inspect
import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invoke.collection import Collection
from invoke.parser.parser import Parser

import tasks
from harness.core.errors import UsageError
from harness.core.paths import REPO
from harness.scenarios.catalogue import POLICIES, TRIGGERS
from harness.scenarios.fuzz_round import MOST_SEED
from harness.sweep.matrix import MOST_CELLS, TASKS, Matrix, read_matrix
from harness.sweep.matrix_file import read_file
from harness.targets.table import TARGETS

PORTABILITY = REPO / "docs" / "portability.toml"
RUN = '[[run]]\ntask = "emulator-test"\n'
FUZZ = '[[run]]\ntask = "fuzz"\n'
LLVM = "[configuration.c]\ntoolchain = 'llvm'"
COMMIT = "0123456789" * 4

Read = Callable[[str], Matrix]

# All examples of a test may write the same file.
one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read_text(text: str) -> Matrix:
        file = tmp_path / "tried.toml"
        file.write_text(text, encoding="utf-8")
        return read_matrix(file)

    return read_text


def lines(matrix: Matrix) -> list[str]:
    return [cell.line for cell in matrix.cells]


def parsed(words: Sequence[str]) -> str | None:
    """The task that a command means to `inv`."""
    contexts: list[Any] = Collection.from_module(tasks).to_contexts()
    found = Parser(contexts=contexts).parse_argv(list(words[1:]))
    (name,) = [context.name for context in found if context.name]
    return name


# --- what is in the repository ------------------------------------------------------


def test_the_portability_matrix_has_every_target_policy_and_trigger() -> None:
    matrix = read_matrix(PORTABILITY)
    assert matrix.name == "portability"
    assert matrix.content == PORTABILITY.read_bytes()
    tested = {
        (cell.build.kernel, cell.build.configuration, cell.policy, cell.trigger)
        for cell in matrix.cells
        if cell.task == "emulator-test"
    }
    for kernel, target in TARGETS.items():
        configurations = {"", "debug"} if target.no_llvm else {"", "debug", "llvm"}
        wanted = itertools.product([kernel], configurations, POLICIES, TRIGGERS)
        assert {one for one in tested if one[0] == kernel} == set(wanted)
    fuzzed = {cell.build for cell in matrix.cells if cell.task == "fuzz"}
    assert {build.title for build in fuzzed} == {
        f"{kernel}{kind}" for kernel in TARGETS for kind in ("", " debug")
    }


def test_the_tasks_take_the_commands_of_its_cells() -> None:
    for cell in read_matrix(PORTABILITY).cells:
        assert parsed(cell.command) == cell.task


def test_the_tasks_take_every_option_that_a_cell_may_have(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.patch").touch()
    matrix = read(
        f'configurations = ["c"]\n{RUN}scenarios = ["course", "report"]\n{FUZZ}minutes = 0.5\n'
        '[[run]]\ntask = "bench"\nquick = true\nparts = ["kills"]\nconfigurations = [""]\n'
        '[[run]]\ntask = "boot-test"\nfiles = ["test_slots.py"]\nconfigurations = [""]\n'
        '[configuration.c]\ndebug = true\npatch = ["a.patch", "a.patch"]\nemulator = "qemu"\n'
    )
    assert [parsed(cell.command) for cell in matrix.cells] == [*TASKS]
    patch = f"--patch {tmp_path}/a.patch"
    build = f"--kernel linux-6.1 --emulator qemu --debug {patch} {patch}"
    policy = "--policy rss --trigger alloc"
    assert lines(matrix) == [
        f"./inv emulator-test {build} {policy} --scenario course --scenario report",
        f"./inv fuzz {build} --seed 0 --minutes 0.5",
        "./inv bench --kernel linux-6.1 --quick --part kills",
        "./inv boot-test --kernel linux-6.1 --file slots",
    ]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_the_options_of_a_build_that_it_has(name: str) -> None:
    known = {option for task in TASKS.values() for option in task.build}
    options = set(inspect.signature(Collection.from_module(tasks)[name].body).parameters)
    assert set(TASKS[name].build) == known & options


def test_the_page_shows_what_is_true(read: Read, tmp_path: Path) -> None:
    page = (REPO / "docs" / "sweeps.md").read_text()
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    matrix = read(example)
    assert matrix.name == "nightly"
    # The kernels as they are; their debug variants, with one policy; seeds; the include.
    expected = {"emulator-test": 2 * (3 + 1) * 2 * 2, "fuzz": 2 * 200, "bench": 1}
    assert Counter(cell.task for cell in matrix.cells) == expected
    axes = read_file(tmp_path / "tried.toml").axes
    read(RUN)
    defaults = read_file(tmp_path / "tried.toml").axes
    said = dict(re.findall(r"^(\w+) = .*# default ([^;:\n]+)", example, re.MULTILINE))
    assert set(said) == {key for key, value in vars(axes).items() if value and key != "task"}
    for key, text in said.items():
        value = tomllib.loads(f"x = {text}")["x"]
        assert getattr(defaults, key) == (tuple(value) if isinstance(value, list) else value)
    told = {cell.line for cell in read_matrix(PORTABILITY).cells}
    lines = re.findall(r"(\./inv emulator-test --kernel .*?) +\d+ s", page)
    assert lines
    assert set(lines) <= told
    for task, known in TASKS.items():
        (row,) = re.findall(rf"^\| `{task}` .*", page, re.MULTILINE)
        assert all(f"`{key}`" in row for key in known.options)


# --- the axes -----------------------------------------------------------------------


def test_what_is_left_out_has_the_tasks_defaults(read: Read) -> None:
    assert lines(read(f"{RUN}{FUZZ}")) == [
        "./inv emulator-test --kernel linux-6.1 --policy rss --trigger alloc",
        "./inv fuzz --kernel linux-6.1 --seed 0 --rounds 1",
    ]


def test_a_run_replaces_the_axes_of_the_file(read: Read) -> None:
    matrix = read(
        f'policies = ["rss", "runtime"]\nseeds = "0-9"\nrepetitions = 2\n{RUN}'
        f'policies = ["all"]\n{FUZZ}repetitions = 1\nseeds = [7, "10-20/5"]\n'
    )
    told = [(cell.policy, cell.seed, cell.repetition) for cell in matrix.cells]
    assert told == [
        *(("all", None, 1), ("all", None, 2)),
        *(("", 7, 1), ("", 10, 1), ("", 15, 1), ("", 20, 1)),
    ]
    assert matrix.cells[1].title == "linux-6.1: emulator-test all alloc #2"


names = st.sampled_from
kernels = st.lists(names(sorted(TARGETS)), min_size=1, unique=True)
policies = st.lists(names(POLICIES), min_size=1, unique=True)
triggers = st.lists(names(TRIGGERS), min_size=1, unique=True)
seeds = st.lists(st.integers(0, MOST_SEED), min_size=1, max_size=4, unique=True)


def some_of(axis: str, values: Sequence[object]) -> str:
    return f"{axis} = [{', '.join(repr(one) for one in values)}]\n"


@one_folder
@given(kernels, policies, triggers, seeds, st.integers(1, 3), st.data())
def test_the_cells_are_the_product_without_what_is_excluded(  # noqa: PLR0913
    read: Read,
    kernels: list[str],
    policies: list[str],
    triggers: list[str],
    seeds: list[int],
    repetitions: int,
    data: st.DataObject,
) -> None:
    product = [*itertools.product(kernels, policies, triggers, range(1, repetitions + 1))]
    gone = data.draw(st.lists(names(product), max_size=3, unique=True))
    text = some_of("kernels", kernels) + some_of("policies", policies)
    text += some_of("triggers", triggers) + some_of("seeds", seeds)
    text += f"repetitions = {repetitions}\n{RUN}{FUZZ}"
    for kernel, policy, trigger, repetition in gone:
        text += f"[[exclude]]\nkernel = {kernel!r}\npolicy = [{policy!r}]\n"
        text += f"trigger = {trigger!r}\nrepetition = {repetition}\n"
    text += "[[include]]\ntask = 'bench'\nkernel = 'linux-6.1'\n"
    matrix = read(text)
    found = [
        (cell.build.kernel, cell.policy, cell.trigger, cell.repetition)
        for cell in matrix.cells
        if cell.task == "emulator-test"
    ]
    assert found == [one for one in product if one not in gone]
    fuzzed = [
        (cell.build.kernel, cell.seed, cell.repetition)
        for cell in matrix.cells
        if cell.task == "fuzz"
    ]
    assert fuzzed == [*itertools.product(kernels, seeds, range(1, repetitions + 1))]
    assert [cell.task for cell in matrix.cells].count("bench") == 1
    assert len({cell.title for cell in matrix.cells}) == len(matrix.cells)


def test_two_runs_that_differ_in_their_options_have_names(read: Read) -> None:
    text = f'{RUN}{RUN}scenarios = ["course"]\nrepetitions = 2\n'
    with pytest.raises(UsageError, match=r"\[\[run\]\] 2: 'linux-6.1: emulator-test rss alloc' is"):
        read(text)
    matrix = read(f'{text}name = "short"\n')
    assert [cell.title for cell in matrix.cells[1:]] == [
        "linux-6.1: emulator-test rss alloc short",
        "linux-6.1: emulator-test rss alloc short #2",
    ]


def test_an_include_is_a_cell_whatever_is_excluded(read: Read) -> None:
    matrix = read(
        f"{FUZZ}seeds = [1, 2]\n[[exclude]]\nseed = 2\n[[include]]\ntask = 'fuzz'\n"
        "kernel = 'linux-6.1'\nseed = 2\nrounds = 3\n"
    )
    assert [cell.seed for cell in matrix.cells] == [1, 2]
    assert matrix.cells[-1].words == ("--seed", "2", "--rounds", "3")


# --- builds -------------------------------------------------------------------------


def test_paths_begin_at_the_file_and_urls_stay(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "tree").mkdir()
    (tmp_path / "up.config").touch()
    matrix = read(
        f'configurations = ["here", "there", "clone"]\n{RUN}'
        '[configuration.here]\nsource = "tree"\nconfig = "up.config"\n'
        f'[configuration.there]\nsource = "https://host/linux.git@{COMMIT}"\n'
        f'[configuration.clone]\nsource = "tree@{COMMIT}"\n'
    )
    assert [build.words[2:] for build in matrix.builds] == [
        ("--source", f"{tmp_path}/tree", "--config", f"{tmp_path}/up.config"),
        ("--source", f"https://host/linux.git@{COMMIT}"),
        ("--source", f"{tmp_path}/tree@{COMMIT}"),
    ]


def test_a_configuration_wins_over_its_kernel(read: Read, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    matrix = read(
        f'configurations = ["", "new"]\n{RUN}[kernel."linux-6.1"]\nsource = "old"\n'
        'toolchain = "llvm"\n[configuration.new]\nsource = "new"\n'
    )
    assert [build.words for build in matrix.builds] == [
        ("--kernel", "linux-6.1", "--source", f"{tmp_path}/{name}", "--toolchain", "llvm")
        for name in ("old", "new")
    ]
    assert [build.title for build in matrix.builds] == ["linux-6.1", "linux-6.1 new"]


# --- what is wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "there is no [[run]]", ""),
        ("x = [", "is no TOML: Invalid value (at end of document)", ""),
        ("x = 1\ny = 2 3", "is no TOML: Expected newline or end of document", ""),
        ("x = 1", "unknown key 'x'", "title, kernels"),
        (f"kernels = 'a'\n{RUN}", "kernels: expected a list, got text", ""),
        (f"kernels = []\n{RUN}", "kernels: the list is empty", ""),
        (f"kernels = ['a']\n{RUN}", "kernels: no kernel is called 'a'", "linux-6.1"),
        (f"policies = ['a']\n{RUN}", "policies: no policy is called 'a'", "runtime"),
        (f"{RUN}triggers = ['a']", "[[run]] 1: triggers: no trigger is called 'a'", "daemon"),
        (f"{RUN}scenarios = ['a']", "[[run]] 1: scenarios: no scenario is called 'a'", "course"),
        (
            f"{RUN}scenarios = ['privileges']\ntriggers = ['daemon']",
            "[[run]] 1: scenarios: scenario privileges means nothing with trigger daemon",
            "a run of its own",
        ),
        ("[[run]]", "[[run]] 1: task: it is missing", "task ="),
        ("[[run]]\ntask = 'boot'", "[[run]] 1: task: a cell cannot be 'boot'", "boot-test"),
        (f"{FUZZ}policies = ['rss']", "[[run]] 1: policies: means nothing to fuzz", "seeds"),
        (f"{FUZZ}minutes = 1\nrounds = 1", "rounds and minutes: only one of them", ""),
        (f"{FUZZ}minutes = 0", "minutes: 0 is not a number above 0", ""),
        (f"{FUZZ}minutes = nan", "minutes: nan is not a number above 0", ""),
        (f"{FUZZ}rounds = true", "rounds: expected a whole number, got true or false", ""),
        (f"{FUZZ}seeds = []", "seeds: the list is empty", ""),
        (f"{FUZZ}seeds = -1", "seeds: not a seed: -1", f"0 to {MOST_SEED}"),
        (f"{FUZZ}seeds = {MOST_SEED + 1}", f"seeds: not a seed: {MOST_SEED + 1}", ""),
        (f"{FUZZ}seeds = '5-4'", "seeds: no seed is in the range 5-4", ""),
        (f"{FUZZ}seeds = '0-9/0'", "seeds: no seed is in the range 0-9/0", ""),
        (f"{FUZZ}seeds = 'x'", "seeds: not a range: 'x'", ""),
        (f"{FUZZ}seeds = '0-{MOST_SEED}'", "4,294,967,296 cells, at most 10,000", ""),
        (f"repetitions = {MOST_CELLS + 1}\n{RUN}", "10,001 cells, at most 10,000", ""),
        (f"{FUZZ}seeds = '0-9999'\nrepetitions = 9999", "99,990,000 cells", ""),
        ("[[run]]\ntask = 'bench'\nparts = ['a']", "parts: no part is called 'a'", "kills"),
        ("[[run]]\ntask = 'boot-test'\nfiles = ['a']", "files: a is no file of boot tests", ""),
        (
            f"{FUZZ}configurations = ['a']\n[configuration.b]",
            "[[run]] 1: configurations: there is no [configuration.'a']",
            "b",
        ),
        (f"[configuration.b]\nx = 1\n{RUN}", "[configuration.'b']: unknown key 'x'", "source"),
        (f"[configuration.'b c']\n{RUN}", "[configuration.'b c']: not a name", "letters"),
        (f"[kernel.goldfish-3.4]\n{RUN}", "[kernel.'goldfish-3']: unknown key '4'", "quotes"),
        (f"[kernel.'linux-0.1']\n{RUN}", "[kernel.'linux-0.1']: no kernel", "linux-6.1"),
        (f"[kernel.'linux-6.1']\nsource = 'a'\n{RUN}", "source: --source a: there is no", ""),
        (f"[kernel.'linux-6.1']\nconfig = 'a'\n{RUN}", "config: there is no such file: a", ""),
        (
            f"[kernel.'linux-6.1']\nemulator = 'sdk'\n{RUN}",
            "emulator: linux-6.1 does not run on the emulator 'sdk'",
            "--emulator qemu",
        ),
        (
            f"{FUZZ}kernels = ['goldfish-3.4']\nconfigurations = ['c']\n{LLVM}",
            "toolchain: goldfish-3.4 cannot be built with clang",
            'kernel = "goldfish-3.4", configuration = "c"',
        ),
        (
            "configurations = ['c']\n[configuration.c]\ndebug = true\n[[run]]\ntask = 'bench'",
            "bench has no --debug, which linux-6.1 has in the configuration 'c'",
            "configurations",
        ),
        (f"{RUN}[[exclude]]", "[[exclude]] 1: it names nothing", ""),
        (f"{RUN}[[exclude]]\nkernel = 'linux-6.l'", "kernel: no cell has 'linux-6.l'", "linux-6.1"),
        (f"{RUN}[[exclude]]\nkernels = ['a']", "[[exclude]] 1: unknown key 'kernels'", "kernel"),
        (f"{RUN}{FUZZ}[[exclude]]\npolicy = 'rss'\nseed = 0", "no cell has all of these", ""),
        (f"{RUN}[[exclude]]\npolicy = 'rss'", "there is no cell: all are excluded", ""),
        (f"{RUN}[[include]]\ntask = 'fuzz'\nkernel = 'linux-6.1'", "seed: fuzz needs one", ""),
        (
            "[[include]]\ntask = 'emulator-test'\nkernel = 'linux-6.1'\npolicy = ''",
            "[[include]] 1: policy: emulator-test needs one",
            "policy = ",
        ),
        (f"{RUN}[[include]]\ntask = 'fuzz'", "[[include]] 1: kernel: it is missing", ""),
        (f"{RUN}{RUN}", "is there already, by [[run]] 1", "repetitions"),
        (f"{RUN}policies = ['rss', 'rss']", "is there already, by [[run]] 1", ""),
        (f'title = "a\\nb"\n{RUN}', r"title: a\x0ab is not printable", ""),
        ("a = " + 3000 * "[", "is nested too deeply", ""),
    ],
)
def test_an_error_names_the_key_in_one_line(read: Read, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert message in caught.value.message
    assert "tried.toml: " in caught.value.message
    assert hint in caught.value.hint
    assert len(str(caught.value).splitlines()) <= 2


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for name in (tmp_path, tmp_path / "none", tmp_path / "a\0b", tmp_path / ("x" * 5000)):
        with pytest.raises(UsageError, match="cannot be read"):
            read_matrix(name)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# a\n# \xe4\n")
    with pytest.raises(UsageError, match="line 2 is not UTF-8"):
        read_matrix(latin)
    latin.write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read_matrix(latin)


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
keys = st.sampled_from(
    ["title", "kernels", "policies", "seeds", "kernel", "configuration", "run", "exclude", "task"]
)


@one_folder
@given(st.dictionaries(keys, toml_values | st.lists(st.dictionaries(keys, toml_values))))
def test_any_content_is_a_matrix_or_wrong_usage(
    read: Read, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda _: content)
    try:
        read("")
    except UsageError as error:
        assert len(str(error).splitlines()) <= 2  # noqa: PT017
