# SPDX-License-Identifier: MIT
"""The tasks, as `./inv` offers them: names, help, defaults, exit statuses."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from invoke.context import Context
from invoke.tasks import Task

import tasks
from harness.bench import run as bench
from harness.build import kernel, programs, rootfs, source
from harness.bundle import pack as bundle
from harness.core.errors import UsageError
from harness.core.paths import REPO
from harness.jobs import checks, doctor, emulator_test, fuzz, replay, setup
from harness.jobs.cli import StatusError
from harness.jobs.options import EmulatorTestOptions, Options
from harness.targets.linux_6_1 import LINUX_6_1
from harness.targets.model import Target
from harness.ui.events import Error, Event, Message, PhaseBegin, PhaseEnd, RunBegin, RunEnd, decode

NAMES = {
    *("setup", "doctor", "cache", "clean", "boot", "emulator-test"),
    *("fetch-kernel", "patch-kernel", "build-kernel"),
    *("build-modules", "build-ndk-tests", "build-rootfs"),
    *("fuzz", "bench", "bench-docs", "bench-harness", "bundle", "replay", "report"),
    *("test", "lint", "unit-test", "browser-test", "boot-test"),
}


def inv(*arguments: str, cwd: Path = REPO, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, REPO / "inv_program.py", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def all_tasks() -> dict[str, Task[Any]]:
    return {name.replace("_", "-"): task for name, task in tasks.namespace.tasks.items()}


def test_names() -> None:
    assert all_tasks().keys() == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_task_and_option_is_explained(name: str) -> None:
    task = all_tasks()[name]
    assert task.__doc__
    options = set(inspect.signature(task.body).parameters) - {"ctx"}
    assert set(task.help) == options


def test_list_from_another_folder(tmp_path: Path) -> None:
    done = inv("--list", cwd=tmp_path)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in NAMES)


def test_no_task_lists_them() -> None:
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
    ],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    done = inv(*arguments)
    assert done.returncode == 2
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert "try: " in done.stderr


def test_a_reader_that_went_away_is_no_error() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{{ {sys.executable} {REPO}/inv_program.py --list; echo $? >&2; }} | true"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr in ("141\n", "0\n")


def test_help_of_a_task() -> None:
    done = inv("--help", "emulator-test")
    assert done.returncode == 0
    assert "rss, runtime, badness or all" in " ".join(done.stdout.split())


@pytest.mark.parametrize(("option", "variable"), [(["--debug"], "0"), ([], "1")])
def test_debug_shows_the_traceback(option: list[str], variable: str) -> None:
    done = inv("doctor", *option, "--kernel", "linux-0.1", INV_DEBUG=variable)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_configuration_comes_from_the_environment() -> None:
    done = inv("doctor", INVOKE_GOLDFISH_OOM_KERNEL="linux-0.2")
    assert done.returncode == 2
    assert "linux-0.2" in done.stderr


# --- how they tell of themselves ------------------------------------------------------


def events(done: subprocess.CompletedProcess[str]) -> list[Event]:
    return [decode(line).event for line in done.stdout.splitlines()]


UNKNOWN = ("doctor", "--kernel", "linux-0.1")


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        (("--json", *UNKNOWN), "auto"),
        (("fetch-kernel", "--json", "--kernel", "linux-0.1"), "auto"),
        (UNKNOWN, "json"),
        (("--json", *UNKNOWN), "quiet"),
    ],
)
def test_json_is_on_stdout_and_the_error_on_both(arguments: tuple[str, ...], variable: str) -> None:
    done = inv(*arguments, INVOKE_GOLDFISH_OOM_OUTPUT=variable)
    assert done.returncode == 2
    begin, error, end = events(done)
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
def test_wrong_usage_is_told_as_json_too(arguments: tuple[str, ...]) -> None:
    done = inv(*arguments)
    assert done.returncode == 2
    assert [type(event) for event in events(done)] == [RunBegin, Error, RunEnd]
    assert done.stderr.startswith("error: ")


def test_quiet_and_json_exclude_each_other() -> None:
    done = inv("--quiet", "--json", "doctor")
    assert done.stderr.splitlines()[0] == "error: --quiet and --json exclude each other"


def test_an_unknown_output_is_wrong_usage() -> None:
    done = inv("doctor", INVOKE_GOLDFISH_OOM_OUTPUT="xml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "auto, plain, quiet, json" in done.stderr


@pytest.mark.parametrize("arguments", [("clean",), ("cache",)])
def test_a_task_as_json_and_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    # A clone, whose results may be removed.
    for name in ("inv_program.py", "tasks.py", "invoke.yaml", "harness"):
        (tmp_path / name).symlink_to(REPO / name)
    program = (
        "import sys; from pathlib import Path; import harness.jobs.stored as job; "
        f"job.clean.__kwdefaults__['results'] = Path({str(tmp_path / 'results')!r}); "
        "sys.path.insert(0, '.'); from inv_program import InvConfig, InvProgram; "
        "InvProgram(name='inv', binary='./inv', config_class=InvConfig).run()"
    )

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=REPO,
            env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )

    found = events(run("--json", *arguments))
    assert isinstance(found[0], RunBegin)
    assert {type(event) for event in found[1:-1]} <= {PhaseBegin, PhaseEnd, Message}
    assert isinstance(found[-1], RunEnd)
    assert found[-1].status == 0
    quiet = run("--quiet", *arguments)
    assert quiet.stdout == "".join(f"{line}\n" for line in [found[-1].result] if line)
    assert quiet.stderr == ""


def test_lists_and_help_are_no_run() -> None:
    assert inv("--json", "--list").stdout == inv("--list").stdout
    assert "--quiet" in inv("--help").stdout


def context() -> Context:
    from inv_program import InvConfig

    config = InvConfig()
    config.set_project_location(str(REPO))
    config.load_project()
    return Context(config)


def test_emulator_test_has_the_configured_options(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[EmulatorTestOptions] = []

    def run(_ws: object, options: EmulatorTestOptions) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(emulator_test, "run", run)
    tasks.emulator_test(context())
    assert seen == [EmulatorTestOptions(target=LINUX_6_1, policy="rss", trigger="alloc")]


def test_debug_is_another_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Target] = []

    def run(_ws: object, options: Options) -> int:
        seen.append(options.target)
        return 0

    monkeypatch.setattr(emulator_test, "run", run)
    monkeypatch.setattr(fuzz, "run", run)
    tasks.emulator_test(context(), debug=True)
    tasks.fuzz(context(), seed="1", debug=True)
    tasks.fuzz(context(), seed="1")
    assert [target.debug for target in seen] == [True, True, False]
    assert seen[0].fragments[-1].name == "debug.config"


def test_doctor_knows_the_configured_source(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def run(_ws: object, _target: object, source: str | None, *, as_json: bool) -> int:
        seen.extend((source, as_json))
        return 0

    monkeypatch.setattr(doctor, "run", run)
    ctx = context()
    ctx.goldfish_oom.source = "/tree"
    tasks.doctor(ctx, json=True)
    assert seen == ["/tree", True]


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
    monkeypatch: pytest.MonkeyPatch, name: str, module: ModuleType, function: str
) -> None:
    ctx = context()
    # linux-6.1 does not run there.
    ctx.goldfish_oom.emulator = "sdk"
    seen: list[str] = []

    def job(_ws: object, target: Target, *_: object) -> MagicMock:
        seen.append(target.name)
        return MagicMock()

    monkeypatch.setattr(module, function, job)
    all_tasks()[name](ctx)
    assert seen == ["linux-6.1"]
    with pytest.raises(UsageError, match="does not run on the emulator"):
        tasks.build_kernel(ctx)


@pytest.mark.parametrize("status", [0, 1])
def test_test_is_everything_in_order(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    groups: list[str] = []

    def run(_ws: object, target: Target, *, quick: bool) -> int:
        groups.append(f"bench {target.name} {quick=}")
        return status

    monkeypatch.setattr(
        checks, "run", lambda _ws, *given: groups.extend(c.name for g in given for c in g)
    )
    monkeypatch.setattr(bench, "run", run)
    with pytest.raises(StatusError) if status else nullcontext():
        tasks.test(context())
    assert groups == [
        *("ruff check", "ruff format", "mypy", "imports", "shellcheck", "unit tests"),
        *("browser tests", "boot tests"),
        "bench linux-6.1 quick=True",
    ]


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
    monkeypatch: pytest.MonkeyPatch, words: list[str], result: str | None, output: str | None
) -> None:
    from inv_program import InvConfig, InvProgram

    seen: list[object] = []
    monkeypatch.setattr(bundle, "run", lambda _ws, *given: seen.extend(given))
    program = InvProgram(name="inv", binary="./inv", config_class=InvConfig)
    program.run(["inv", "bundle", *words], exit=False)
    assert seen == [Path(name) if name else None for name in (result, output)]


def test_replay_passes_its_file_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def run(_ws: object, file: Path, *, kcidb_origin: str) -> int:
        seen.extend((file, kcidb_origin))
        return 1

    monkeypatch.setattr(replay, "run", run)
    with pytest.raises(StatusError):
        tasks.replay(context(), "a.tar.gz")
    assert seen == [Path("a.tar.gz"), "goldfish_oom"]


def test_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(checks, "run", lambda ws, *_: seen.append(ws.jobs))
    ctx = context()
    tasks.lint(ctx)
    ctx.goldfish_oom.jobs = 7
    tasks.lint(ctx)
    assert seen == [len(os.sched_getaffinity(0)), 7]
