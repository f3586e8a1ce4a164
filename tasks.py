# SPDX-License-Identifier: MIT
"""The tasks of `./inv`: their names, defaults and help. What they do is in harness/.

The harness is imported inside the tasks: `./inv --list` should not wait for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

if TYPE_CHECKING:
    from harness.targets import Target
    from harness.workspace import Workspace

KERNEL_HELP = {"kernel": "the kernel: linux-6.1 (configuration: kernel)"}
SOURCE_HELP = {
    "source": "its source: a directory, a tarball or a git URL with @commit; "
    "default: the kernel's own (configuration: source)"
}
BUILD_HELP = {**KERNEL_HELP, **SOURCE_HELP}
EMULATORS = ("qemu",)


def _workspace(ctx: Context) -> Workspace:
    from harness.workspace import Workspace

    jobs = int(ctx.goldfish_oom.jobs)
    return Workspace(jobs=jobs) if jobs > 0 else Workspace()


def _target(ctx: Context, kernel: str | None) -> Target:
    from harness.targets import get_target

    return get_target(kernel or ctx.goldfish_oom.kernel)


def _source(ctx: Context, source: str | None) -> str | None:
    return source or ctx.goldfish_oom.source or None


@task
def setup(ctx: Context) -> None:
    """Install the Debian packages that are missing (as root, or with sudo)."""
    from harness import setup as job

    job.run(_workspace(ctx))


@task(help={"json": "print it as JSON, for machines", **KERNEL_HELP})
def doctor(ctx: Context, json: bool = False, kernel: str | None = None) -> None:
    """Say what is here, what is missing and what to run."""
    from harness import cli
    from harness import doctor as job

    source = _source(ctx, None)
    cli.finish(job.run(_workspace(ctx), _target(ctx, kernel), source, as_json=json))


@task(help=BUILD_HELP)
def fetch_kernel(ctx: Context, kernel: str | None = None, source: str | None = None) -> None:
    """Get the kernel's source."""
    from harness import source as job

    ws = _workspace(ctx)
    fetched = job.fetch(ws, _target(ctx, kernel), _source(ctx, source))
    ws.reporter.say(f"{fetched.version} from {fetched.origin}: {fetched.tree}")


@task(help={"check": "only say for each patch whether it applies", **BUILD_HELP})
def patch_kernel(
    ctx: Context, check: bool = False, kernel: str | None = None, source: str | None = None
) -> None:
    """Patch a copy of the kernel's source."""
    from harness import kernel as job
    from harness import patch_check

    ws, target = _workspace(ctx), _target(ctx, kernel)
    if check:
        patch_check.run(ws, target, _source(ctx, source))
    else:
        ws.reporter.say(str(job.patch(ws, target, _source(ctx, source))))


@task(help=BUILD_HELP)
def build_kernel(ctx: Context, kernel: str | None = None, source: str | None = None) -> None:
    """Build the patched kernel."""
    from harness import kernel as job

    ws = _workspace(ctx)
    built = job.build(ws, _target(ctx, kernel), _source(ctx, source))
    ws.reporter.say(f"{built.release}: {built.image}")


@task(help=BUILD_HELP)
def build_modules(ctx: Context, kernel: str | None = None, source: str | None = None) -> None:
    """Build set_mm_limits.ko and my_oom_killer.ko against the built kernel."""
    from harness import kernel as kernels
    from harness import modules as job

    ws = _workspace(ctx)
    built = job.build(ws, kernels.build(ws, _target(ctx, kernel), _source(ctx, source)))
    ws.reporter.say(str(built.folder))


@task(help=KERNEL_HELP)
def build_ndk_tests(ctx: Context, kernel: str | None = None) -> None:
    """Build the programs that run on the device."""
    from harness import programs as job

    ws = _workspace(ctx)
    ws.reporter.say(str(job.build(ws, _target(ctx, kernel)).folder))


@task(help=KERNEL_HELP)
def build_rootfs(ctx: Context, kernel: str | None = None) -> None:
    """Build the guest: an initramfs with adbd and Android's layout."""
    from harness import rootfs as job

    ws = _workspace(ctx)
    ws.reporter.say(str(job.build(ws, _target(ctx, kernel)).initramfs))


@task(help={"cache": "everything that was downloaded or built as well"})
def clean(ctx: Context, cache: bool = False) -> None:
    """Remove the results of test runs."""
    from harness import clean as job

    job.run(_workspace(ctx), cache=cache)


@task(help={"user": "root, u0_a70, or a uid (configuration: user)", **BUILD_HELP})
def boot(
    ctx: Context,
    user: str | None = None,
    kernel: str | None = None,
    source: str | None = None,
) -> None:
    """Boot the patched kernel and give a shell on it."""
    from harness import boot as job
    from harness import cli

    login = user or ctx.goldfish_oom.user
    cli.finish(
        job.run(_workspace(ctx), _target(ctx, kernel), login, _source(ctx, source)),
    )


@task(
    help={
        "policy": "who is killed: rss, runtime, badness or all (configuration: policy)",
        "trigger": "what starts the killer: alloc or daemon (configuration: trigger)",
        "emulator": "what it boots on: qemu (configuration: emulator)",
        "scenario": "only this one (may be repeated); a wrong name lists them all",
        "patch": "a patch file to apply behind the series (may be repeated)",
        "config": "a file of Kconfig lines to use in place of, or besides, the fragment's",
        **BUILD_HELP,
    },
    iterable=["scenario", "patch"],
)
def emulator_test(
    ctx: Context,
    policy: str | None = None,
    trigger: str | None = None,
    emulator: str | None = None,
    scenario: list[str] | None = None,
    patch: list[str] | None = None,
    config: str | None = None,
    kernel: str | None = None,
    source: str | None = None,
) -> None:
    """Patch, build and boot the kernel, let users exceed their limits, and judge it."""
    from harness import cli
    from harness import emulator_test as job

    defaults = ctx.goldfish_oom
    cli.choose("emulator", emulator or defaults.emulator, EMULATORS)
    status = job.run(
        _workspace(ctx),
        _target(ctx, kernel),
        policy=policy or defaults.policy,
        trigger=trigger or defaults.trigger,
        source=_source(ctx, source),
        scenarios=tuple(scenario) if scenario else None,
        extra_patches=[Path(name) for name in patch or ()],
        extra_config=Path(config) if config else None,
    )
    cli.finish(status)


@task
def lint(ctx: Context) -> None:
    """Check style, types and shell scripts."""
    from harness import checks

    checks.run(_workspace(ctx), checks.LINT)


@task
def unit_test(ctx: Context) -> None:
    """Run the tests that need no device; they take seconds."""
    from harness import checks

    checks.run(_workspace(ctx), checks.UNIT_TESTS)


@task
def boot_test(ctx: Context) -> None:
    """Run the tests that boot a real kernel."""
    from harness import checks

    checks.run(_workspace(ctx), checks.BOOT_TESTS)


@task
def test(ctx: Context) -> None:
    """Run everything that CI runs: lint, unit tests, boot tests."""
    from harness import checks

    checks.run(_workspace(ctx), checks.LINT, checks.UNIT_TESTS, checks.BOOT_TESTS)


namespace = Collection(
    setup,
    doctor,
    fetch_kernel,
    patch_kernel,
    build_kernel,
    build_modules,
    build_ndk_tests,
    build_rootfs,
    clean,
    boot,
    emulator_test,
    test,
    lint,
    unit_test,
    boot_test,
)
