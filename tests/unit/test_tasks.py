# SPDX-License-Identifier: MIT
"""The tasks, as `./inv` offers them: names, help, defaults, exit statuses."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import Task

import tasks
from harness.bench import run as bench
from harness.build import kernel, programs, rootfs, source
from harness.bundle import pack as bundle
from harness.core.cache import Cache
from harness.core.errors import UsageError
from harness.core.paths import REPO, RESULTS
from harness.jobs import (
    ahead,
    bisect,
    boot,
    checks,
    doctor,
    emulator_test,
    fuzz,
    replay,
    setup,
    stored,
    sweep,
    sweep_list,
)
from harness.jobs.cli import StatusError
from harness.jobs.options import EmulatorTestOptions
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.table import TARGETS
from harness.ui.events import Error, Event, Message, PhaseBegin, PhaseEnd, RunBegin, RunEnd, decode
from harness.ui.progress import reporter_of
from harness.ui.workspace import Workspace
from inv_program import InvConfig, InvProgram

UNKNOWN = ("doctor", "--kernel", "linux-0.1")


@dataclass(frozen=True)
class Ended:
    """How a run of `inv` ended."""

    status: int
    stdout: str
    stderr: str


Inv = Callable[..., Ended]


@pytest.fixture
def inv(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Inv]:
    """Runs `inv` in this process: its start would take longer than what is looked at."""

    def run(*arguments: str, **environment: str) -> Ended:
        # As in a process of its own, which has one reporter.
        reporter_of.cache_clear()
        monkeypatch.setattr("sys.argv", ["inv", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            program().run()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, said.out, said.err)

    yield run
    reporter_of.cache_clear()


def program() -> InvProgram:
    return InvProgram(name="inv", binary="./inv", config_class=InvConfig)


def python(
    *words: str | Path, cwd: Path = REPO, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def all_tasks() -> dict[str, Task[Any]]:
    return dict(Collection.from_module(tasks).tasks)


# Invoke takes the texts out of a task's `help` when it parses, which any test may make it do.
EXPLAINED = {name: set(task.help) for name, task in all_tasks().items()}


def test_the_readme_has_every_task_and_no_other() -> None:
    _, _, text = (REPO / "README.md").read_text().partition("\n## Tasks\n")
    table, _, _ = text.partition("\n## ")
    names = re.findall(r"^\| `([a-z-]+)", table, re.MULTILINE)
    assert "emulator-test" in names
    assert sorted(names) == sorted(all_tasks())


@pytest.mark.parametrize("name", sorted(all_tasks()))
def test_every_task_and_option_is_explained(name: str) -> None:
    task = all_tasks()[name]
    assert task.__doc__
    options = set(inspect.signature(task.body).parameters) - {"ctx"}
    assert EXPLAINED[name] == options


def test_list_from_another_folder(tmp_path: Path) -> None:
    done = python(REPO / "inv_program.py", "--list", cwd=tmp_path)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in all_tasks())


def test_no_task_lists_them(inv: Inv) -> None:
    assert inv().stdout == inv("--list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["build-kernel", "--config", "lines.config"],
        ["no-such-task"],
        ["doctor", "--no-such-option"],
        ["--no-such-option"],
        ["emulator-test", "--policy"],
        ["--help", "no-such-task"],
        ["doctor", "--kernel", "linux-0.1"],
        ["emulator-test", "--emulator", "none"],
        ["fuzz", "--seed", "x"],
        ["fuzz", "--minutes", "soon"],
        ["fuzz", "--minutes", "0"],
        ["bundle", "no-such-result"],
        ["bundle", "--output"],
        ["replay", "no-such-file"],
        ["replay"],
        ["bisect"],
        ["bisect", "--source", "/", "--good", "v1", "--bad", "v2"],
        ["boot-test", "--file", "no-such-file"],
        ["sweep"],
        ["sweep", "no-such-file", "--list"],
        ["sweep", "pyproject.toml", "--list"],
    ],
)
def test_wrong_usage_is_2(inv: Inv, arguments: list[str]) -> None:
    done = inv(*arguments)
    assert done.status == 2
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert "try: " in done.stderr


def test_wrong_usage_is_the_status_of_the_program(inv: Inv) -> None:
    done, alike = python("inv_program.py", *UNKNOWN), inv(*UNKNOWN)
    assert (done.returncode, done.stdout, done.stderr) == (2, alike.stdout, alike.stderr)


def test_help_names_every_kernel_and_policy(inv: Inv) -> None:
    done = inv("--help", "emulator-test")
    told = " ".join(done.stdout.split())
    assert done.status == 0
    assert "rss, runtime, badness or all" in told
    assert f"the kernel: {' or '.join(TARGETS)} (" in told


@pytest.mark.parametrize(("option", "variable"), [(["--debug"], "0"), ([], "1")])
def test_debug_shows_the_traceback(inv: Inv, option: list[str], variable: str) -> None:
    done = inv("doctor", *option, "--kernel", "linux-0.1", INV_DEBUG=variable)
    assert done.status == 2
    assert "Traceback" in done.stderr


def test_configuration_comes_from_the_environment(inv: Inv) -> None:
    done = inv("doctor", INVOKE_GOLDFISH_OOM_KERNEL="linux-0.2")
    assert done.status == 2
    assert "linux-0.2" in done.stderr


# --- how they tell of themselves ------------------------------------------------------


def events(stdout: str) -> list[Event]:
    return [decode(line).event for line in stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("--json", *UNKNOWN), "auto"),
        (("fetch-kernel", "--json", "--kernel", "linux-0.1"), "auto"),
        (UNKNOWN, "json"),
        (("--json", *UNKNOWN), "quiet"),
    ],
)
def test_json_is_on_stdout_and_the_error_on_both(
    inv: Inv, arguments: tuple[str, ...], variable: str
) -> None:
    done = inv(*arguments, INVOKE_GOLDFISH_OOM_OUTPUT=variable)
    assert done.status == 2
    begin, error, end = events(done.stdout)
    assert begin == RunBegin(("./inv", *arguments))
    assert isinstance(error, Error)
    assert (error.status, error.what in done.stderr) == (2, True)
    assert end == RunEnd("", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--json", "--quiet", *UNKNOWN),
        ("fetch-kernel", "--quiet", "--json"),
        ("--json", "no-such-task"),
        ("fetch-kernel", "--json", "--no-such-option"),
        ("--json", "boot", "--user", "root"),
    ],
)
def test_wrong_usage_is_told_as_json_too(inv: Inv, arguments: tuple[str, ...]) -> None:
    done = inv(*arguments)
    assert done.status == 2
    assert [type(event) for event in events(done.stdout)] == [RunBegin, Error, RunEnd]
    assert done.stderr.startswith("error: ")


def test_quiet_and_json_exclude_each_other(inv: Inv) -> None:
    done = inv("--quiet", "--json", "doctor")
    assert done.stderr.startswith("error: --quiet and --json exclude each other\n")


def test_an_unknown_output_is_wrong_usage(inv: Inv) -> None:
    done = inv("doctor", INVOKE_GOLDFISH_OOM_OUTPUT="xml")
    assert (done.status, done.stdout) == (2, "")
    assert "auto, plain, quiet, json" in done.stderr


def test_the_cache_keeps_itself_below_its_size(inv: Inv, tmp_path: Path) -> None:
    """A run that failed puts things in, too; the task `cache` itself removes nothing."""
    root = tmp_path / "goldfish-oom"
    for key in ("old", "older"):
        entry = Cache(root).ensure("kernel", key, lambda folder: None)
        (entry / "file").write_bytes(b"x" * 4_000_000)
    os.utime(entry, (0, 0))
    where = {"XDG_CACHE_HOME": str(tmp_path), "INVOKE_GOLDFISH_OOM_CACHE_GIB": "0.005"}
    shown = inv("cache", **where)
    assert "2 entries, 8.0 MB" in shown.stdout
    assert "cache_gib allows 5.4 MB" in shown.stdout
    assert (root / "kernel" / "older").exists()
    done = inv("report", "--result", str(tmp_path / "none"), **where)
    assert done.status == 2
    assert "kernel/older removed" in done.stderr
    assert sorted(path.name for path in (root / "kernel").iterdir()) == ["old"]
    assert "removed" not in inv("cache", "--prune", **where).stderr


def test_tests_make_no_room_in_the_cache_of_who_runs_them(inv: Inv, tmp_path: Path) -> None:
    Cache(tmp_path / "goldfish-oom").ensure("kernel", "old", lambda folder: None)
    assert "allows" not in inv("cache", XDG_CACHE_HOME=str(tmp_path)).stdout


@pytest.mark.parametrize("size", ["-1", "much", ""])
def test_a_size_of_the_cache_that_is_none(inv: Inv, size: str, tmp_path: Path) -> None:
    for task in (("cache",), ("build-kernel", "--source", str(tmp_path / "none"))):
        done = inv(*task, INVOKE_GOLDFISH_OOM_CACHE_GIB=size)
        assert done.status == 2
        assert "no number of GiB" in done.stderr


@pytest.mark.parametrize("arguments", [("clean",), ("cache",)])
def test_a_task_as_json_and_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    program = (
        "import sys; "
        "sys.path.insert(0, '.'); from inv_program import InvConfig, InvProgram; "
        "InvProgram(name='inv', binary='./inv', config_class=InvConfig).run()"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        done = python(
            *("-c", program, *words),
            XDG_CACHE_HOME=str(tmp_path / "cache"),
            INVOKE_GOLDFISH_OOM_RESULTS=str(tmp_path / "results"),
        )
        assert done.returncode == 0
        return done

    found = events(run("--json", *arguments).stdout)
    assert isinstance(found[0], RunBegin)
    assert {type(event) for event in found[1:-1]} <= {PhaseBegin, PhaseEnd, Message}
    assert isinstance(found[-1], RunEnd)
    assert found[-1].status == 0
    quiet = run("--quiet", *arguments)
    assert quiet.stdout == "".join(f"{line}\n" for line in [found[-1].result] if line)
    assert quiet.stderr == ""


def test_lists_and_help_are_no_run(inv: Inv) -> None:
    assert inv("--json", "--list").stdout == inv("--list").stdout
    assert "--quiet" in inv("--help").stdout


def context() -> Context:
    config = InvConfig()
    config.set_project_location(str(REPO))
    config.load_project()
    return Context(config)


Call = tuple[tuple[Any, ...], dict[str, Any]]


class Jobs:
    """Jobs that note what they were called with, and do nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.workspaces: list[Workspace] = []

    def of(self, module: ModuleType, function: str = "run", returns: object = 0) -> list[Call]:
        """The calls of a module's job from now on: without its workspace."""
        calls: list[Call] = []

        def job(ws: Workspace, *given: object, **options: object) -> object:
            self.workspaces.append(ws)
            calls.append((given, options))
            return returns

        self._monkeypatch.setattr(module, function, job)
        return calls


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    return Jobs(monkeypatch)


def test_emulator_test_passes_its_options_on(jobs: Jobs) -> None:
    calls = jobs.of(emulator_test)
    tasks.emulator_test(context())
    expected = EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")
    assert calls == [((expected,), {})]
    ctx = context()
    ctx.goldfish_oom.kcidb_origin = "my_lab"
    tasks.emulator_test(
        ctx,
        policy="all",
        trigger="daemon",
        source="/tree",
        scenario=["report"],
        patch=["a.patch", "b.patch"],
        jobs="2",
    )
    ((options,), _) = calls[-1]
    assert options == EmulatorTestOptions(
        target=LINUX_6_1,
        policy="all",
        trigger="daemon",
        source="/tree",
        scenarios=("report",),
        patches=(Path("a.patch"), Path("b.patch")),
        jobs="2",
        kcidb_origin="my_lab",
    )


def test_debug_is_another_kernel(jobs: Jobs) -> None:
    tested, fuzzed = jobs.of(emulator_test), jobs.of(fuzz)
    tasks.emulator_test(context(), debug=True)
    tasks.fuzz(context(), seed="1", debug=True)
    tasks.fuzz(context(), seed="1")
    targets = [given[0].target for given, _ in (*tested, *fuzzed)]
    assert [target.debug for target in targets] == [True, True, False]
    assert targets[0].fragments[-1].name == "debug.config"


def test_doctor_knows_the_configured_source(jobs: Jobs) -> None:
    calls = jobs.of(doctor)
    ctx = context()
    ctx.goldfish_oom.source = "/tree"
    tasks.doctor(ctx, json=True)
    (((_, source), options),) = calls
    assert (source, options) == ("/tree", {"as_json": True, "results": RESULTS})


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("setup", setup, "run"),
        ("fetch-kernel", source, "fetch"),
        ("patch-kernel", kernel, "patch"),
        ("build-ndk-tests", programs, "build"),
        ("build-rootfs", rootfs, "build"),
    ],
)
def test_what_does_not_boot_is_not_stopped_by_the_emulator(
    jobs: Jobs, name: str, module: ModuleType, function: str
) -> None:
    ctx = context()
    # linux-6.1 does not run there.
    ctx.goldfish_oom.emulator = "sdk"
    calls = jobs.of(module, function, returns=MagicMock())
    all_tasks()[name](ctx)
    assert [given[0].name for given, _ in calls] == ["linux-6.1"]
    with pytest.raises(UsageError, match="does not run on the emulator"):
        tasks.build_kernel(ctx)


@pytest.mark.parametrize("status", [0, 1])
def test_test_is_everything_in_order(jobs: Jobs, status: int) -> None:
    checked, measured = jobs.of(checks), jobs.of(bench, returns=status)
    built = jobs.of(ahead, "kernels_ahead", returns=nullcontext())
    with pytest.raises(StatusError) if status else nullcontext():
        tasks.test(context())
    assert [given[0].name for given, _ in built] == ["linux-6.1"]
    ((groups, _),) = checked
    names = [check.name for group in groups for check in group]
    assert names[: len(checks.LINT)] == [check.name for check in checks.LINT]
    assert [name.partition(",")[0] for name in names[len(checks.LINT) :]] == [
        *("unit tests", "browser tests", "boot tests")
    ]
    (((target,), options),) = measured
    assert (target.name, options) == ("linux-6.1", {"quick": True, "results": RESULTS})


@pytest.mark.parametrize(
    ("words", "result", "output"),
    [
        ([], None, None),
        (["a"], "a", None),
        (["--output", "b"], None, "b"),
        (["--output", "b", "a"], "a", "b"),
        (["a", "--output", "b"], "a", "b"),
    ],
)
def test_bundle_may_be_told_nothing(
    jobs: Jobs, words: list[str], result: str | None, output: str | None
) -> None:
    calls = jobs.of(bundle)
    program().run(["inv", "bundle", *words], exit=False)
    expected = tuple(Path(name) if name else None for name in (result, output))
    assert calls == [((*expected, RESULTS), {})]


@pytest.mark.parametrize(
    ("task", "words"),
    [
        *(("emulator-test", words) for words in (["--kernel", "linux-6.1"], ["--source", "/x"])),
        *(("emulator-test", words) for words in (["--emulator", "sdk"], ["--avd", "x"])),
        *(("emulator-test", [word]) for word in ("--debug", "--differential", "--watch")),
        *(("emulator-test", [word, "x"]) for word in ("--patch", "--config", "--cross-compile")),
        *(("fuzz", words) for words in (["--toolchain", "llvm"], ["--patch", "a"], ["--debug"])),
    ],
)
def test_what_is_for_a_build_does_not_go_with_a_bundle(
    inv: Inv, task: str, words: list[str]
) -> None:
    done = inv(task, "--bundle", "a.tar.gz", *words)
    assert done.status == 2
    what = "does not go with --bundle, which has its kernel"
    assert done.stderr == f"error: {words[0]} {what}\n  try: without {words[0]}\n"


def test_the_configuration_of_a_build_goes_with_a_bundle(inv: Inv) -> None:
    where = {"KERNEL": "linux-0.1", "SOURCE": "/x", "EMULATOR": "none", "DEBUG": "1"}
    configured = {f"INVOKE_GOLDFISH_OOM_{name}": value for name, value in where.items()}
    for task in ("emulator-test", "fuzz"):
        done = inv(task, "--bundle", "no-such-file", **configured)
        assert (done.status, "there is no file no-such-file" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kernel", "linux-6.1"], "--kernel is for --build: a run has its kernel"),
        (["--patch", "a"], "--patch is for --build: a run has its kernel"),
        (["--debug"], "--debug is for --build: a run has its kernel"),
        (["--build", "results/x"], "--build packs no run, so not results/x"),
        (["--build", "--kernel", "linux-0.1"], "no kernel is called 'linux-0.1'"),
        (["--build", "--kernel", "goldfish-3.4", "--emulator", "sdk"], "is not ours to hand on"),
        (["--build", "--output", "/"], "/ is a folder"),
        (["--build", "--output", "no/such/folder"], "there is no folder no/such"),
    ],
)
def test_what_bundle_refuses(inv: Inv, words: list[str], message: str) -> None:
    done = inv("bundle", *words)
    assert (done.status, len(done.stderr.splitlines())) == (2, 2)
    assert message in done.stderr


def test_results_are_where_the_configuration_says(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ctx = context()
    ctx.goldfish_oom.results = "here"
    tested, fuzzed, measured = jobs.of(emulator_test), jobs.of(fuzz), jobs.of(bench)
    booted, cleaned = jobs.of(boot), jobs.of(stored, "clean", returns=None)
    bisected, swept = jobs.of(bisect), jobs.of(sweep)
    tasks.bisect(ctx, source="linux", good="a", bad="b")
    tasks.sweep(ctx, "m.toml")
    tasks.emulator_test(ctx)
    tasks.fuzz(ctx)
    tasks.boot(ctx)
    tasks.bench(ctx)
    tasks.clean(ctx)
    given = [given[-1].results for given, _ in (*tested, *fuzzed, *booted)]
    given += [given[-1].results for given, _ in (*bisected, *swept)]
    given += [options["results"] for _, options in (*measured, *cleaned)]
    assert given == [tmp_path / "here"] * 7


def test_replay_passes_its_file_on(jobs: Jobs) -> None:
    calls = jobs.of(replay, returns=1)
    with pytest.raises(StatusError):
        tasks.replay(context(), "a.tar.gz")
    expected = {"kcidb_origin": "goldfish_oom", "results": RESULTS}
    assert calls == [((Path("a.tar.gz"),), expected)]


@pytest.mark.parametrize("as_json", [False, True])
def test_sweep_lists_its_cells(jobs: Jobs, as_json: bool) -> None:
    calls = jobs.of(sweep_list)
    words = ["inv", "sweep", "m.toml", "--list", *(["--json"] if as_json else [])]
    program().run(words, exit=False)
    assert calls == [((Path("m.toml"), as_json, RESULTS), {})]


def test_jobs(jobs: Jobs) -> None:
    jobs.of(checks)
    ctx = context()
    tasks.lint(ctx)
    ctx.goldfish_oom.jobs = 7
    tasks.lint(ctx)
    assert [ws.jobs for ws in jobs.workspaces] == [len(os.sched_getaffinity(0)), 7]
