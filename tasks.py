# SPDX-License-Identifier: MIT
"""The tasks of `./inv`: their names, defaults and help. What they do is in harness/.

The harness is imported inside the tasks: `./inv --list` should not wait for it. Only the targets'
table, which is data, is imported here: the help names the kernels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from invoke.context import Context
from invoke.tasks import Task, task

from harness.targets.table import TARGETS, get_target

if TYPE_CHECKING:
    from harness.targets.model import Target
    from harness.ui.workspace import Workspace

# The options that say which kernel a task is about, with their help.
KERNEL_OPTIONS = {
    "kernel": f"the kernel: {' or '.join(TARGETS)} (configuration: kernel)",
    "source": "its source: a directory, a tarball or a git URL with @commit; "
    "default: the kernel's own (configuration: source)",
    "emulator": "what it boots on: qemu, or sdk for the Android Emulator (configuration: emulator)",
    "cross_compile": "the prefix of another cross compiler for kernel and modules "
    "(configuration: cross_compile)",
    "debug": "the variant that checks itself: KASAN, lockdep, fault injection, …",
}
TREE = ("kernel", "source")
BOARD = ("kernel", "source", "emulator", "cross_compile")
BUILD = (*BOARD, "debug")
BOOT_HELP = {
    "avd": "the virtual device for --emulator sdk (configuration: avd)",
    "snapshot": "go on from a snapshot if there is one; --no-snapshot boots",
}


@dataclass(frozen=True)
class Wanted:
    """The kernel that a task is about; its source is given as in --source."""

    target: Target
    source: str | None


def _wanted(ctx: Context, options: Mapping[str, Any]) -> Wanted:
    """Return the kernel that the options name, or else the configuration.

    Only for a task with the option `emulator` does it matter what the kernel boots on.
    """
    defaults = ctx.goldfish_oom
    name = options["kernel"] or defaults.kernel
    if "emulator" not in options:
        target = get_target(name)
    else:
        target = get_target(name, options["emulator"] or defaults.emulator)
        if options.get("debug") or defaults.debug:
            target = target.checking_itself()
    prefix = options.get("cross_compile") or defaults.cross_compile
    if prefix:
        target = target.with_cross_compile(prefix)
    return Wanted(target, options.get("source") or defaults.source or None)


def kernel_task(
    *options: str,
    help: Mapping[str, str] = MappingProxyType({}),  # noqa: A002
    iterable: Sequence[str] = (),
) -> Callable[[Callable[..., None]], Task[Any]]:
    """Make a task whose parameter `wanted` comes from `options`, which stand in its place."""

    def decorate(body: Callable[..., None]) -> Task[Any]:
        @wraps(body)
        def run(ctx: Context, **given: object) -> None:
            named = {name: given.pop(name, None) for name in options}
            body(ctx, wanted=_wanted(ctx, named), **given)

        parameters: list[inspect.Parameter] = []
        for one in inspect.signature(body).parameters.values():
            named = [one.replace(name=n, default=False if n == "debug" else None) for n in options]
            parameters += named if one.name == "wanted" else [one]
        # Invoke makes the task's options of this.
        vars(run)["__signature__"] = inspect.Signature(parameters)
        texts = {name: KERNEL_OPTIONS[name] for name in options}
        made: Task[Any] = task(help={**help, **texts}, iterable=iterable)(run)
        return made

    return decorate


def _workspace(ctx: Context) -> Workspace:
    from harness.ui.progress import reporter_of
    from harness.ui.workspace import Workspace

    return Workspace.telling(reporter_of(ctx.goldfish_oom.output), jobs=int(ctx.goldfish_oom.jobs))


@kernel_task("kernel")
def setup(ctx: Context, *, wanted: Wanted) -> None:
    """Install the Debian packages that are missing (as root, or with sudo)."""
    from harness.jobs import setup as job

    job.run(_workspace(ctx), wanted.target)


@kernel_task(*BOARD, help={"json": "print it as JSON, for machines"})
def doctor(ctx: Context, json: bool = False, *, wanted: Wanted) -> None:
    """Say what is here, what is missing and what to run."""
    from harness.jobs import cli
    from harness.jobs import doctor as job

    cli.finish(job.run(_workspace(ctx), wanted.target, wanted.source, as_json=json))


@kernel_task(*TREE)
def fetch_kernel(ctx: Context, *, wanted: Wanted) -> None:
    """Get the kernel's source."""
    from harness.build import source as job

    ws = _workspace(ctx)
    fetched = job.fetch(ws, wanted.target, wanted.source)
    ws.reporter.result(f"{fetched.version} from {fetched.origin}: {fetched.tree}")


@kernel_task(
    *(*TREE, "cross_compile"), help={"check": "only say for each patch whether it applies"}
)
def patch_kernel(ctx: Context, check: bool = False, *, wanted: Wanted) -> None:
    """Patch a copy of the kernel's source."""
    from harness.build import kernel as job
    from harness.build import patching

    ws, target = _workspace(ctx), wanted.target
    if check:
        patching.report_check(ws, target, wanted.source)
    else:
        ws.reporter.result(str(job.patch(ws, target, wanted.source)))


@kernel_task(*BUILD)
def build_kernel(ctx: Context, *, wanted: Wanted) -> None:
    """Build the patched kernel."""
    from harness.build import kernel as job

    ws = _workspace(ctx)
    built = job.build(ws, wanted.target, wanted.source)
    ws.reporter.result(f"{built.release}: {built.image}")


@kernel_task(*BUILD)
def build_modules(ctx: Context, *, wanted: Wanted) -> None:
    """Build set_mm_limits.ko and my_oom_killer.ko against the built kernel."""
    from harness.build import kernel as kernels
    from harness.build import modules as job

    ws = _workspace(ctx)
    built = job.build(ws, kernels.build(ws, wanted.target, wanted.source))
    ws.reporter.result(str(built.folder))


@kernel_task("kernel")
def build_ndk_tests(ctx: Context, *, wanted: Wanted) -> None:
    """Build the programs that run on the device."""
    from harness.build import programs as job

    ws = _workspace(ctx)
    ws.reporter.result(str(job.build(ws, wanted.target).folder))


@kernel_task("kernel")
def build_rootfs(ctx: Context, *, wanted: Wanted) -> None:
    """Build the guest: an initramfs with adbd and Android's layout."""
    from harness.build import rootfs as job

    ws = _workspace(ctx)
    ws.reporter.result(str(job.build(ws, wanted.target).initramfs))


@task(help={"cache": "everything that was downloaded or built as well"})
def clean(ctx: Context, cache: bool = False) -> None:
    """Remove all results: of tests, benchmarks and shells."""
    from harness.jobs import stored as job

    job.clean(_workspace(ctx), cache=cache)


@task(
    help={
        "prune": "remove what has not been used lately, and what killed runs left half-made",
        "days": "what that means (default: 30)",
    }
)
def cache(ctx: Context, prune: bool = False, days: str = "30") -> None:
    """Say what is stored, how much and how old it is."""
    from harness.jobs import stored as job

    job.run(_workspace(ctx), prune=prune, days=days)


@kernel_task(*BUILD, help={"user": "root, u0_a70, or a uid (configuration: user)", **BOOT_HELP})
def boot(
    ctx: Context,
    user: str | None = None,
    *,
    wanted: Wanted,
    avd: str | None = None,
    snapshot: bool = True,
) -> None:
    """Boot the patched kernel and give a shell on it."""
    from harness.jobs import boot as job
    from harness.jobs import cli

    ws, defaults = _workspace(ctx), ctx.goldfish_oom
    user, avd = user or defaults.user, avd or defaults.avd or None
    cli.finish(job.run(ws, wanted.target, user, wanted.source, avd=avd, snapshot=snapshot))


@kernel_task(
    *BUILD,
    help={
        "policy": "who is killed: rss, runtime, badness or all (configuration: policy)",
        "trigger": "what starts the killer: alloc or daemon (configuration: trigger)",
        "scenario": "only this one (may be repeated); a wrong name lists them all",
        "patch": "a patch file to apply behind the series (may be repeated)",
        "config": "a file of Kconfig lines to use in place of, or besides, the fragment's",
        **BOOT_HELP,
        "jobs": "how many guests side by side (default: by CPUs, free memory and scenarios)",
        "differential": "do the same on the source's own kernel, and say what differed",
    },
    iterable=["scenario", "patch"],
)
def emulator_test(
    ctx: Context,
    policy: str | None = None,
    trigger: str | None = None,
    scenario: list[str] | None = None,
    patch: list[str] | None = None,
    config: str | None = None,
    *,
    wanted: Wanted,
    avd: str | None = None,
    snapshot: bool = True,
    jobs: str = "",
    differential: bool = False,
) -> None:
    """Patch, build and boot the kernel, let users exceed their limits, and judge it."""
    from harness.jobs import cli
    from harness.jobs import emulator_test as job
    from harness.jobs.options import EmulatorTestOptions

    defaults = ctx.goldfish_oom
    options = EmulatorTestOptions(
        target=wanted.target,
        policy=policy or defaults.policy,
        trigger=trigger or defaults.trigger,
        source=wanted.source,
        scenarios=tuple(scenario) if scenario else None,
        patches=tuple(Path(name) for name in patch or ()),
        config=Path(config) if config else None,
        avd=avd or defaults.avd or None,
        snapshot=snapshot,
        jobs=jobs,
        differential=differential,
        kcidb_origin=defaults.kcidb_origin,
    )
    cli.finish(job.run(_workspace(ctx), options))


@kernel_task(
    *BUILD,
    help={
        "seed": "where it begins (default: a new one, which is told)",
        "minutes": "for how long (default: 1)",
        "rounds": "how many rounds, in place of minutes",
        "jobs": "how many guests share them (default: by CPUs and free memory)",
        "patch": "a patch file to apply behind the series (may be repeated)",
    },
    iterable=["patch"],
)
def fuzz(
    ctx: Context,
    seed: str = "",
    minutes: str = "1",
    rounds: int = 0,
    jobs: str = "",
    patch: list[str] | None = None,
    *,
    wanted: Wanted,
) -> None:
    """Let random processes of several users loose on the kernel, and watch what must hold."""
    from harness.jobs import cli
    from harness.jobs import fuzz as job
    from harness.jobs.options import FuzzOptions

    options = FuzzOptions(
        target=wanted.target,
        seed=job.seed_of(seed),
        minutes=job.minutes_of(minutes),
        rounds=rounds,
        jobs=jobs,
        source=wanted.source,
        patches=tuple(Path(name) for name in patch or ()),
    )
    cli.finish(job.run(_workspace(ctx), options))


@task(
    help={
        "result": "the folder of a run of emulator-test or fuzz (default: results/latest)",
        "output": "the file to write (default: here, called as the folder)",
    },
    positional=["result"],
)
def bundle(ctx: Context, result: str | None = None, output: str | None = None) -> None:
    """Put all that repeats a run elsewhere into one file."""
    from harness.bundle import pack as job

    ws = _workspace(ctx)
    job.run(ws, Path(result) if result else None, Path(output) if output else None)


@task(help={"file": "what bundle has made, here or elsewhere"}, positional=["file"])
def replay(ctx: Context, file: str) -> None:
    """Repeat the run of a bundle, and say whether it came out the same; QEMU and adb suffice."""
    from harness.jobs import cli
    from harness.jobs import replay as job

    origin = ctx.goldfish_oom.kcidb_origin
    cli.finish(job.run(_workspace(ctx), Path(file), kcidb_origin=origin))


@kernel_task(
    *(*TREE, "cross_compile"),
    help={
        "quick": "only the main figures, in under five minutes",
        "part": "only counts, kills, crowds or times (may be repeated)",
    },
    iterable=["part"],
)
def bench(
    ctx: Context, quick: bool = False, part: list[str] | None = None, *, wanted: Wanted
) -> None:
    """Measure what the limits cost and how far users get above them, beside the alternatives."""
    from harness.bench import run as job
    from harness.jobs import cli

    ws, parts = _workspace(ctx), tuple(part or ())
    cli.finish(job.run(ws, wanted.target, quick=quick, parts=parts, source=wanted.source))


@kernel_task("kernel", help={"rounds": "how often each command is run (default: 5)"})
def bench_harness(ctx: Context, rounds: int = 0, *, wanted: Wanted) -> None:
    """Measure how long the commands take that people type, with saved guests and without."""
    from harness.bench import harness as job
    from harness.jobs import cli

    cli.finish(job.run(_workspace(ctx), wanted.target, rounds=rounds))


@task(help={"result": "the folder of a run in results/ (default: the last of the benchmark)"})
def bench_docs(ctx: Context, result: str | None = None) -> None:
    """Write docs/benchmarks.md, with its picture, from the results of the benchmark."""
    from harness.bench import docs as job

    job.publish(_workspace(ctx), Path(result) if result else None)


@task(
    help={
        "result": "the folder of a run in results/, or its name there (default: the latest)",
        "open": "open the page in a browser",
    }
)
def report(ctx: Context, result: str = "", open: bool = False) -> None:  # noqa: A002
    """Write the page of a run, report.html, and index.html of all results."""
    from harness.report import report as job

    job.run(_workspace(ctx), result, show=open)


@task
def lint(ctx: Context) -> None:
    """Check style, types and shell scripts."""
    from harness.jobs import checks

    checks.run(_workspace(ctx), checks.LINT)


@task
def unit_test(ctx: Context) -> None:
    """Run the tests that need no device; they take some minutes."""
    from harness.jobs import checks

    checks.run(_workspace(ctx), checks.UNIT_TESTS)


@task
def browser_test(ctx: Context) -> None:
    """Run the tests that look at the report page in a headless Chromium."""
    from harness.jobs import checks

    checks.run(_workspace(ctx), checks.BROWSER_TESTS)


@kernel_task(
    *TREE,
    help={
        "debug": KERNEL_OPTIONS["debug"],
        "jobs": "how many guests side by side (default: by CPUs and free memory)",
    },
)
def boot_test(ctx: Context, debug: bool = False, jobs: str = "", *, wanted: Wanted) -> None:
    """Run the tests that boot a real kernel."""
    from harness.jobs import checks

    ws = _workspace(ctx)
    target = checks.on_source(ws, wanted.target, wanted.source)
    target = target.checking_itself() if debug else target
    checks.run(ws, checks.boot_tests(target, jobs))


@task
def test(ctx: Context) -> None:
    """Run lint, all tests and bench --quick, as .ci/run does."""
    from harness.bench import run as benchmark
    from harness.jobs import checks, cli

    ws, target = _workspace(ctx), _wanted(ctx, {"kernel": "linux-6.1"}).target
    boot_tests = checks.boot_tests(target)
    checks.run(ws, checks.LINT, checks.UNIT_TESTS, checks.BROWSER_TESTS, boot_tests)
    cli.finish(benchmark.run(ws, target, quick=True))
