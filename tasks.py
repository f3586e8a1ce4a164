# SPDX-License-Identifier: MIT
"""The tasks of `./inv`: their names, defaults and help. What they do is in harness/.

The harness is imported inside the tasks: `./inv --list` should not wait for it. Only the targets'
table, which is data, is imported here: the help names the kernels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from harness.targets.table import TARGETS, get_target

if TYPE_CHECKING:
    from harness.targets.model import Target
    from harness.ui.workspace import Workspace

KERNEL_HELP = {"kernel": f"the kernel: {' or '.join(TARGETS)} (configuration: kernel)"}
SOURCE_HELP = {
    "source": "its source: a directory, a tarball or a git URL with @commit; "
    "default: the kernel's own (configuration: source)"
}
EMULATOR_HELP = {
    "emulator": "what it boots on: qemu, or sdk for the Android Emulator (configuration: emulator)"
}
COMPILER_HELP = {
    "cross_compile": "the prefix of another cross compiler for kernel and modules "
    "(configuration: cross_compile)",
    "toolchain": "what compiles kernel and modules: gnu (gcc), or llvm (clang, lld) "
    "(configuration: toolchain)",
}
TOOLCHAIN_HELP = {"toolchain": COMPILER_HELP["toolchain"]}
TREE_HELP = {**KERNEL_HELP, **SOURCE_HELP}
DEBUG_HELP = {"debug": "the variant that checks itself: KASAN, lockdep, fault injection, …"}
BOARD_HELP = {**TREE_HELP, **EMULATOR_HELP, **COMPILER_HELP}
BUILD_HELP = {**BOARD_HELP, **DEBUG_HELP}
SNAPSHOT_HELP = {"snapshot": "go on from a snapshot if there is one; --no-snapshot boots"}
AVD_HELP = {"avd": "the virtual device for --emulator sdk (configuration: avd)"}


def _workspace(ctx: Context, *, only_looks: bool = False) -> Workspace:
    """Return the workspace. Unless the task only looks at the cache, it makes room at its end."""
    from harness.jobs import cli, room
    from harness.ui.progress import reporter_of
    from harness.ui.workspace import Workspace

    defaults = ctx.goldfish_oom
    limit = room.limit_of(defaults.cache_gib)
    ws = Workspace.telling(reporter_of(defaults.output), jobs=int(defaults.jobs))
    if not only_looks:
        cli.at_end(lambda say: room.keep_below(ws.cache, limit, say))
    return ws


def _target(
    ctx: Context,
    kernel: str | None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
) -> Target:
    """Return the kernel, for tasks that do not depend on what it boots on."""
    target = get_target(kernel or ctx.goldfish_oom.kernel)
    return _compiled(ctx, target, cross_compile, toolchain)


def _target_on(
    ctx: Context,
    kernel: str | None,
    emulator: str | None,
    compiled: tuple[str | None, str | None],
    debug: bool = False,
) -> Target:
    """Return the kernel, with the board that it is to boot on.

    `compiled` are the options --cross-compile and --toolchain.
    """
    defaults = ctx.goldfish_oom
    target = get_target(kernel or defaults.kernel, emulator or defaults.emulator)
    if debug or defaults.debug:
        target = target.checking_itself()
    return _compiled(ctx, target, *compiled)


def _compiled(
    ctx: Context, target: Target, cross_compile: str | None, toolchain: str | None
) -> Target:
    prefix = cross_compile or ctx.goldfish_oom.cross_compile
    target = target.with_cross_compile(prefix) if prefix else target
    return target.with_toolchain(toolchain or ctx.goldfish_oom.toolchain)


def _source(ctx: Context, source: str | None) -> str | None:
    return source or ctx.goldfish_oom.source or None


@task(help={**KERNEL_HELP, **TOOLCHAIN_HELP})
def setup(ctx: Context, kernel: str | None = None, toolchain: str | None = None) -> None:
    """Install the Debian packages that are missing (as root, or with sudo)."""
    from harness.jobs import setup as job

    job.run(_workspace(ctx), _target(ctx, kernel, toolchain=toolchain))


@task(help={"json": "print it as JSON, for machines", **BOARD_HELP})
def doctor(
    ctx: Context,
    json: bool = False,
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
) -> None:
    """Say what is here, what is missing and what to run."""
    from harness.jobs import cli
    from harness.jobs import doctor as job

    target = _target_on(ctx, kernel, emulator, (cross_compile, toolchain))
    ws = _workspace(ctx, only_looks=True)
    cli.finish(job.run(ws, target, _source(ctx, source), as_json=json))


@task(help=TREE_HELP)
def fetch_kernel(ctx: Context, kernel: str | None = None, source: str | None = None) -> None:
    """Get the kernel's source."""
    from harness.build import source as job

    ws = _workspace(ctx)
    fetched = job.fetch(ws, _target(ctx, kernel), _source(ctx, source))
    ws.reporter.result(f"{fetched.version} from {fetched.origin}: {fetched.tree}")


@task(help={"check": "only say for each patch whether it applies", **TREE_HELP, **COMPILER_HELP})
def patch_kernel(
    ctx: Context,
    check: bool = False,
    kernel: str | None = None,
    source: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
) -> None:
    """Patch a copy of the kernel's source."""
    from harness.build import kernel as job
    from harness.build import patching

    ws, target = _workspace(ctx), _target(ctx, kernel, cross_compile, toolchain)
    if check:
        patching.report_check(ws, target, _source(ctx, source))
    else:
        ws.reporter.result(str(job.patch(ws, target, _source(ctx, source))))


@task(help=BUILD_HELP)
def build_kernel(
    ctx: Context,
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
) -> None:
    """Build the patched kernel."""
    from harness.build import kernel as job

    ws = _workspace(ctx)
    target = _target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug)
    built = job.build(ws, target, _source(ctx, source))
    ws.reporter.result(f"{built.release}: {built.image}")


@task(help=BUILD_HELP)
def build_modules(
    ctx: Context,
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
) -> None:
    """Build set_mm_limits.ko and my_oom_killer.ko against the built kernel."""
    from harness.build import kernel as kernels
    from harness.build import modules as job

    ws = _workspace(ctx)
    target = _target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug)
    built = job.build(ws, kernels.build(ws, target, _source(ctx, source)))
    ws.reporter.result(str(built.folder))


@task(help=KERNEL_HELP)
def build_ndk_tests(ctx: Context, kernel: str | None = None) -> None:
    """Build the programs that run on the device."""
    from harness.build import programs as job

    ws = _workspace(ctx)
    ws.reporter.result(str(job.build(ws, _target(ctx, kernel)).folder))


@task(help=KERNEL_HELP)
def build_rootfs(ctx: Context, kernel: str | None = None) -> None:
    """Build the guest: an initramfs with adbd and Android's layout."""
    from harness.build import rootfs as job

    ws = _workspace(ctx)
    ws.reporter.result(str(job.build(ws, _target(ctx, kernel)).initramfs))


@task(help={"cache": "everything that was downloaded or built as well"})
def clean(ctx: Context, cache: bool = False) -> None:
    """Remove all results: of tests, benchmarks and shells."""
    from harness.jobs import stored as job

    job.clean(_workspace(ctx, only_looks=True), cache=cache)


@task(
    help={
        "prune": "remove what has not been used lately, what killed runs left half-made, and what "
        "is beyond the cache's size (configuration: cache_gib)",
        "days": "what that means (default: 30)",
    }
)
def cache(ctx: Context, prune: bool = False, days: str = "30") -> None:
    """Say what is stored, how much, how old it is, and what a run uses now."""
    from harness.jobs import room
    from harness.jobs import stored as job

    limit = room.limit_of(ctx.goldfish_oom.cache_gib)
    job.run(_workspace(ctx, only_looks=True), prune=prune, days=days, limit=limit)


@task(
    help={
        "user": "root, u0_a70, or a uid (configuration: user)",
        **BUILD_HELP,
        **AVD_HELP,
        **SNAPSHOT_HELP,
    }
)
def boot(
    ctx: Context,
    user: str | None = None,
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
    avd: str | None = None,
    snapshot: bool = True,
) -> None:
    """Boot the patched kernel and give a shell on it."""
    from harness.jobs import boot as job
    from harness.jobs import cli

    defaults = ctx.goldfish_oom
    status = job.run(
        _workspace(ctx),
        _target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        user or defaults.user,
        _source(ctx, source),
        avd=avd or defaults.avd or None,
        snapshot=snapshot,
    )
    cli.finish(status)


@task(
    help={
        "policy": "who is killed: rss, runtime, badness or all (configuration: policy)",
        "trigger": "what starts the killer: alloc or daemon (configuration: trigger)",
        "scenario": "only this one (may be repeated); a wrong name lists them all",
        "patch": "a patch file to apply behind the series (may be repeated)",
        "config": "a file of Kconfig lines to use in place of, or besides, the fragment's",
        **BUILD_HELP,
        **AVD_HELP,
        **SNAPSHOT_HELP,
        "jobs": "how many guests side by side (default: by CPUs, free memory and scenarios)",
        "differential": "do the same on the source's own kernel, and say what differed",
        "watch": "test again at each save of a file that the test is made from, until Ctrl-C",
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
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
    avd: str | None = None,
    snapshot: bool = True,
    jobs: str = "",
    differential: bool = False,
    watch: bool = False,
) -> None:
    """Patch, build and boot the kernel, let users exceed their limits, and judge it."""
    from harness.jobs import cli
    from harness.jobs import emulator_test as job
    from harness.jobs import watch as watching
    from harness.jobs.options import EmulatorTestOptions

    defaults = ctx.goldfish_oom
    options = EmulatorTestOptions(
        target=_target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        policy=policy or defaults.policy,
        trigger=trigger or defaults.trigger,
        source=_source(ctx, source),
        scenarios=tuple(scenario) if scenario else None,
        patches=tuple(Path(name) for name in patch or ()),
        config=Path(config) if config else None,
        avd=avd or defaults.avd or None,
        snapshot=snapshot,
        jobs=jobs,
        differential=differential,
        kcidb_origin=defaults.kcidb_origin,
    )
    if watch:
        watching.run(_workspace(ctx), options)
    cli.finish(job.run(_workspace(ctx), options))


@task(
    help={
        "seed": "where it begins (default: a new one, which is told)",
        "minutes": "for how long (default: 1)",
        "rounds": "how many rounds, in place of minutes",
        "jobs": "how many guests share them (default: by CPUs and free memory)",
        "patch": "a patch file to apply behind the series (may be repeated)",
        **BUILD_HELP,
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
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
) -> None:
    """Let random processes of several users loose on the kernel, and watch what must hold."""
    from harness.jobs import cli
    from harness.jobs import fuzz as job
    from harness.jobs.options import FuzzOptions

    options = FuzzOptions(
        target=_target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        seed=job.seed_of(seed),
        minutes=job.minutes_of(minutes),
        rounds=rounds,
        jobs=jobs,
        source=_source(ctx, source),
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


@task(
    help={
        "quick": "only the main figures, in about five minutes",
        "part": "only counts, kills, crowds, bystanders or times (may be repeated)",
        **TREE_HELP,
        **COMPILER_HELP,
    },
    iterable=["part"],
)
def bench(
    ctx: Context,
    quick: bool = False,
    part: list[str] | None = None,
    kernel: str | None = None,
    source: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
) -> None:
    """Measure what the limits cost and how far users get above them, beside the alternatives."""
    from harness.bench import run as job
    from harness.jobs import cli

    status = job.run(
        _workspace(ctx),
        _target(ctx, kernel, cross_compile, toolchain),
        quick=quick,
        parts=tuple(part or ()),
        source=_source(ctx, source),
    )
    cli.finish(status)


@task(
    help={
        "rounds": "how often each command is run (default: 5)",
        **KERNEL_HELP,
    }
)
def bench_harness(ctx: Context, rounds: int = 0, kernel: str | None = None) -> None:
    """Measure how long the commands take that people type, with saved guests and without."""
    from harness.bench import harness as job
    from harness.jobs import cli

    cli.finish(job.run(_workspace(ctx), _target(ctx, kernel), rounds=rounds))


@task(
    help={
        "file": "the matrix: a TOML file, as docs/sweeps.md describes",
        "list": "only print its cells, with a guess of how long they take",
        "json": "with --list: print them as JSON, as the matrix of a CI workflow",
    },
    positional=["file"],
)
def sweep(
    ctx: Context,
    file: str,
    list: bool = False,  # noqa: A002
    json: bool = False,
) -> None:
    """Run all cells of a matrix: kernels, policies, triggers, seeds and so on."""
    from harness.core.errors import UsageError
    from harness.jobs import sweep_list as listing

    if not list:
        raise UsageError("only the listing of a sweep is there yet", hint="--list")
    listing.run(_workspace(ctx, only_looks=True), Path(file), as_json=json)


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


@task(
    help={
        "file": "only the tests in this file of tests/boot, such as slots (may be repeated); "
        "a wrong name lists them all",
        "debug": BUILD_HELP["debug"],
        "jobs": "how many guests side by side (default: by CPUs and free memory)",
        **TREE_HELP,
        **TOOLCHAIN_HELP,
    },
    iterable=["file"],
)
def boot_test(
    ctx: Context,
    file: list[str] | None = None,
    debug: bool = False,
    jobs: str = "",
    kernel: str | None = None,
    source: str | None = None,
    toolchain: str | None = None,
) -> None:
    """Run the tests that boot a real kernel."""
    from harness.jobs import checks

    ws = _workspace(ctx)
    target = _target(ctx, kernel, toolchain=toolchain)
    target = checks.on_source(ws, target, _source(ctx, source))
    target = target.checking_itself() if debug else target
    checks.run(ws, checks.boot_tests(target, jobs, file or ()))


@task
def test(ctx: Context) -> None:
    """Run lint, all tests and bench --quick, as .ci/run does."""
    from harness.bench import run as benchmark
    from harness.jobs import checks, cli

    ws, target = _workspace(ctx), _target(ctx, "linux-6.1")
    boot_tests = checks.boot_tests(target)
    checks.run(ws, checks.LINT, checks.UNIT_TESTS, checks.BROWSER_TESTS, boot_tests)
    cli.finish(benchmark.run(ws, target, quick=True))
