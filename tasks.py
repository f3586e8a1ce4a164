# SPDX-License-Identifier: MIT
"""The tasks of `./inv`: their names, defaults and help. What they do is in harness/.

The harness is imported inside the tasks: `./inv --list` should not wait for it. Only the targets'
table, which is data, is imported here: the help names the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.tasks import task

from harness.targets.table import TARGETS, get_target

if TYPE_CHECKING:
    from harness.bundle.manifest import Manifest
    from harness.jobs.bundled import Unpacked
    from harness.sweep.address import Tls
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
PATCH_HELP = {"patch": "a patch file to apply behind the series (may be repeated)"}
CONFIG_HELP = {"config": "a file of Kconfig lines to use in place of, or besides, the fragment's"}
BUNDLE_HELP = {"bundle": "boot what this file has, which bundle has made, and build nothing"}
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


def _tls(ctx: Context) -> Tls:
    """Return the files that encrypt a cluster."""
    from harness.sweep.address import Tls

    defaults = ctx.goldfish_oom
    return Tls(defaults.tls_ca, defaults.tls_cert, defaults.tls_key)


def _source(ctx: Context, source: str | None) -> str | None:
    return source or ctx.goldfish_oom.source or None


def _results(ctx: Context) -> Path:
    """Return the folder below which results are, and are made."""
    from harness.core.paths import RESULTS

    configured = ctx.goldfish_oom.results
    return Path(configured).expanduser().absolute() if configured else RESULTS


def _opened(
    bundle: str | None,
    given: dict[str, object],
    check: Callable[[Manifest], None] = lambda _: None,
) -> AbstractContextManager[Unpacked | None]:
    """Open the bundle that --bundle names; None without it. No option that is `given` goes with it.

    For `check` see bundled.opened().
    """
    from harness.jobs import bundled

    if bundle is None:
        return nullcontext()
    bundled.check_not_given(given, "does not go with --bundle, which has its kernel")
    return bundled.opened(Path(bundle), check)


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
    ws, results = _workspace(ctx, only_looks=True), _results(ctx)
    cli.finish(job.run(ws, target, _source(ctx, source), as_json=json, results=results))


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

    job.clean(_workspace(ctx, only_looks=True), cache=cache, results=_results(ctx))


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
    from harness.jobs.options import BootOptions

    defaults = ctx.goldfish_oom
    options = BootOptions(
        target=_target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        user=user or defaults.user,
        source=_source(ctx, source),
        avd=avd or defaults.avd or None,
        snapshot=snapshot,
        results=_results(ctx),
    )
    cli.finish(job.run(_workspace(ctx), options))


@task(
    help={
        "policy": "who is killed: rss, runtime, badness or all (configuration: policy)",
        "trigger": "what starts the killer: alloc or daemon (configuration: trigger)",
        "scenario": "only this one (may be repeated); a wrong name lists them all",
        **BUNDLE_HELP,
        **PATCH_HELP,
        **CONFIG_HELP,
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
    bundle: str | None = None,
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
    from harness.jobs import cli, room
    from harness.jobs import emulator_test as job
    from harness.jobs import watch as watching
    from harness.jobs.options import EmulatorTestOptions

    defaults, ws = ctx.goldfish_oom, _workspace(ctx)
    compiled = (cross_compile, toolchain)
    given: dict[str, object] = {"patch": patch, "config": config, "kernel": kernel, "avd": avd}
    given |= {"source": source, "emulator": emulator, "debug": debug, "watch": watch}
    given |= {"cross_compile": cross_compile, "toolchain": toolchain, "differential": differential}
    with _opened(bundle, given) as found:
        options = EmulatorTestOptions(
            target=found.target if found else _target_on(ctx, kernel, emulator, compiled, debug),
            policy=policy or defaults.policy,
            trigger=trigger or defaults.trigger,
            source=None if found else _source(ctx, source),
            scenarios=tuple(scenario) if scenario else None,
            patches=tuple(Path(name) for name in patch or ()),
            config=Path(config) if config else None,
            avd=None if found else avd or defaults.avd or None,
            snapshot=snapshot,
            jobs=jobs,
            results=_results(ctx),
            bundle=found,
            differential=differential,
            kcidb_origin=defaults.kcidb_origin,
        )
        if watch:
            watching.run(ws, options, room.limit_of(defaults.cache_gib))
        status = job.run(ws, options)
    cli.finish(status)


@task(
    help={
        "source": "a git repository: a folder, which is only read, or a URL (configuration: "
        "source)",
        "good": "a commit of it whose kernel passes: a hash, a tag or a branch",
        "bad": "a later commit whose kernel does not pass",
        "scenario": "only this one (may be repeated): the one whose verdict differs",
        "boot_fails_is_bad": "a kernel that does not boot is bad (default: the commit is skipped)",
        "policy": "who is killed: rss, runtime, badness or all (configuration: policy)",
        "trigger": "what starts the killer: alloc or daemon (configuration: trigger)",
        "patch": "a patch file to apply behind the series (may be repeated)",
        "config": "a file of Kconfig lines to use in place of, or besides, the fragment's",
        "jobs": "how many guests side by side (default: by CPUs, free memory and scenarios)",
        **KERNEL_HELP,
        **EMULATOR_HELP,
        **COMPILER_HELP,
        **DEBUG_HELP,
        **AVD_HELP,
    },
    iterable=["scenario", "patch"],
)
def bisect(
    ctx: Context,
    source: str | None = None,
    good: str = "",
    bad: str = "",
    scenario: list[str] | None = None,
    boot_fails_is_bad: bool = False,
    policy: str | None = None,
    trigger: str | None = None,
    patch: list[str] | None = None,
    config: str | None = None,
    jobs: str = "",
    kernel: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
    avd: str | None = None,
) -> None:
    """Find the commit of a kernel tree that changed a verdict, with git bisect."""
    from harness.core.errors import UsageError
    from harness.jobs import bisect as job
    from harness.jobs import cli
    from harness.jobs.options import BisectOptions, EmulatorTestOptions

    defaults = ctx.goldfish_oom
    repository = _source(ctx, source)
    if repository is None or not good or not bad:
        raise UsageError(
            "a bisect needs a git repository and two commits of it",
            hint="./inv bisect --source DIRECTORY --good v6.1.100 --bad v6.1.120",
        )
    test = EmulatorTestOptions(
        target=_target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        policy=policy or defaults.policy,
        trigger=trigger or defaults.trigger,
        scenarios=tuple(scenario) if scenario else None,
        patches=tuple(Path(name) for name in patch or ()),
        config=Path(config) if config else None,
        avd=avd or defaults.avd or None,
        jobs=jobs,
        kcidb_origin=defaults.kcidb_origin,
    )
    options = BisectOptions(
        test=test,
        source=repository,
        good=good,
        bad=bad,
        boot_fails_is_bad=boot_fails_is_bad,
        results=_results(ctx),
    )
    cli.finish(job.run(_workspace(ctx), options))


@task(
    help={
        "seed": "where it begins (default: a new one, which is told)",
        "minutes": "for how long (default: 1)",
        "rounds": "how many rounds, in place of minutes",
        "jobs": "how many guests share them (default: by CPUs and free memory)",
        **BUNDLE_HELP,
        **PATCH_HELP,
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
    bundle: str | None = None,
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

    ws, compiled = _workspace(ctx), (cross_compile, toolchain)
    given: dict[str, object] = {"patch": patch, "kernel": kernel, "source": source, "debug": debug}
    given |= {"emulator": emulator, "cross_compile": cross_compile, "toolchain": toolchain}
    with _opened(bundle, given, job.check_bundle) as found:
        options = FuzzOptions(
            target=found.target if found else _target_on(ctx, kernel, emulator, compiled, debug),
            seed=job.seed_of(seed),
            minutes=job.minutes_of(minutes),
            rounds=rounds,
            jobs=jobs,
            source=None if found else _source(ctx, source),
            patches=tuple(Path(name) for name in patch or ()),
            results=_results(ctx),
            bundle=found,
        )
        status = job.run(ws, options)
    cli.finish(status)


@task(
    help={
        "file": "the matrix: a TOML file, as docs/sweeps.md describes",
        "list": "only print its cells, with a guess of how long they take",
        "json": "print them as JSON, as the matrix of a CI workflow",
        "scheduler": "where workers are: tcp://HOST:PORT, or tls:// (configuration: tls_ca, "
        "tls_cert, tls_key); default: workers of this machine",
        "jobs": "how many guests side by side on this machine (default: by CPUs and free memory)",
        "resume": "the folder of a sweep that ended early: go on with it",
    },
    positional=["file"],
)
def sweep(
    ctx: Context,
    file: str | None = None,
    list: bool = False,  # noqa: A002
    json: bool = False,
    scheduler: str = "",
    jobs: str = "",
    resume: str = "",
) -> None:
    """Run all cells of a matrix: kernels, policies, triggers, seeds, on one or many machines."""
    from harness.jobs import cli, sweep_list
    from harness.jobs import sweep as job

    options = job.Options(
        file=Path(file) if file else None,
        resume=Path(resume) if resume else None,
        scheduler=scheduler,
        jobs=jobs,
        tls=_tls(ctx),
        results=_results(ctx),
    )
    if list or json:
        sweep_list.run(_workspace(ctx, only_looks=True), options.file, json, options.results)
    else:
        cli.finish(job.run(_workspace(ctx), options))


@task(
    help={
        "scheduler": "its address: tcp://HOST:PORT, or tls:// (configuration: tls_ca, tls_cert, "
        "tls_key)",
        "jobs": "how many guests side by side (default: by CPUs and free memory)",
        "name": "what sweeps call it (default: the host and a number)",
        "build": "--no-build: only run guests",
    },
    positional=["scheduler"],
)
def worker(
    ctx: Context, scheduler: str, jobs: str = "", name: str = "", build: bool = True
) -> None:
    """Run guests, and build, for the sweeps of a scheduler (`dask scheduler`), until Ctrl-C."""
    from harness.jobs import cli
    from harness.jobs import worker as job

    options = job.Options(scheduler, jobs, name, build, _tls(ctx))
    cli.finish(job.run(_workspace(ctx, only_looks=True), options))


@task(
    help={
        "result": "the folder of a run of emulator-test or fuzz (default: results/latest)",
        "output": "the file to write (default: here, called as the folder or the kernel)",
        "build": "build a kernel and all that is booted with it, and pack that: nothing is run",
        **PATCH_HELP,
        **CONFIG_HELP,
        **BUILD_HELP,
    },
    positional=["result"],
    iterable=["patch"],
)
def bundle(
    ctx: Context,
    result: str | None = None,
    output: str | None = None,
    build: bool = False,
    patch: list[str] | None = None,
    config: str | None = None,
    kernel: str | None = None,
    source: str | None = None,
    emulator: str | None = None,
    cross_compile: str | None = None,
    toolchain: str | None = None,
    debug: bool = False,
) -> None:
    """Put all that repeats a run elsewhere into one file, or with --build all that is booted."""
    from harness.bundle import pack
    from harness.jobs import build_bundle, bundled
    from harness.jobs.options import BuildOptions

    folder, file = (Path(name) if name else None for name in (result, output))
    if not build:
        given: dict[str, object] = {"patch": patch, "config": config, "kernel": kernel}
        given |= {"source": source, "emulator": emulator, "debug": debug}
        given |= {"cross_compile": cross_compile, "toolchain": toolchain}
        bundled.check_not_given(given, "is for --build: a run has its kernel", "with --build")
        pack.run(_workspace(ctx), folder, file, _results(ctx))
        return
    options = BuildOptions(
        target=_target_on(ctx, kernel, emulator, (cross_compile, toolchain), debug),
        source=_source(ctx, source),
        patches=tuple(Path(name) for name in patch or ()),
        config=Path(config) if config else None,
    )
    build_bundle.run(_workspace(ctx), options, file, folder)


@task(help={"file": "what bundle has made, here or elsewhere"}, positional=["file"])
def replay(ctx: Context, file: str) -> None:
    """Repeat the run of a bundle, and say whether it came out the same; QEMU and adb suffice."""
    from harness.jobs import cli
    from harness.jobs import replay as job

    origin = ctx.goldfish_oom.kcidb_origin
    ws, results = _workspace(ctx), _results(ctx)
    cli.finish(job.run(ws, Path(file), kcidb_origin=origin, results=results))


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
        results=_results(ctx),
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

    ws, target = _workspace(ctx), _target(ctx, kernel)
    cli.finish(job.run(ws, target, rounds=rounds, results=_results(ctx)))


@task(help={"result": "the folder of a run in results/ (default: the last of the benchmark)"})
def bench_docs(ctx: Context, result: str | None = None) -> None:
    """Write docs/benchmarks.md, with its picture, from the results of the benchmark."""
    from harness.bench import docs as job

    job.publish(_workspace(ctx), Path(result) if result else None, _results(ctx))


@task(
    help={
        "result": "the folder of a run in results/, or its name there (default: the latest)",
        "open": "open the page in a browser",
    }
)
def report(ctx: Context, result: str = "", open: bool = False) -> None:  # noqa: A002
    """Write the page of a run, report.html, and index.html of all results."""
    from harness.report import report as job

    job.run(_workspace(ctx), result, show=open, results=_results(ctx))


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
    from harness.jobs import ahead, checks, cli

    ws, target = _workspace(ctx), _target(ctx, "linux-6.1")
    boot_tests = checks.boot_tests(target, without=checks.LONG_BOOT_TESTS)
    with ahead.kernels_ahead(ws, target):
        checks.run(ws, checks.LINT, checks.UNIT_TESTS, checks.BROWSER_TESTS, boot_tests)
    cli.finish(benchmark.run(ws, target, quick=True, results=_results(ctx)))
