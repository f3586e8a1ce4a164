# SPDX-License-Identifier: MIT
"""The user's Android SDK: its emulator and its virtual devices (AVDs)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import InfrastructureError, ToolMissingError, UsageError
from harness.core.process import RunOptions, run
from harness.targets.model import SdkMachine

# The emulator's place in an SDK: a folder of its own since 25.3, tools/ before.
_EMULATORS = ("emulator/emulator", "tools/emulator")
_REVISION = re.compile(r"^Pkg\.Revision\s*=\s*(\d+(?:\.\d+)*)", re.MULTILINE)
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
_FIELD = re.compile(r"^\s*([\w.]+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_API = re.compile(r"android-(\d+)")
_VERSION_SECONDS = 60.0
# "-engine classic" came with the second engine, which boots no goldfish kernel; later
# emulators lack the classic engine.
_ENGINES_SINCE = (25, 0)
_CLASSIC_UNTIL = (28, 0, 25)
GOOD_RELEASES = "SDK tools r24.4.1, or an emulator of version 26.1.2 to 28.0.25"

# The packages that a 32-bit program needs on a 64-bit Debian.
PACKAGES_32 = "libc6-i386 lib32stdc++6 lib32z1"

MAKE_AVD = 'avdmanager create avd -n gfoom -k "system-images;android-22;default;armeabi-v7a"'


@dataclass(frozen=True)
class Sdk:
    """An emulator, its version (empty if unknown), and the SDK's folder (None if unknown)."""

    emulator: Path
    version: tuple[int, ...]
    root: Path | None

    @property
    def version_text(self) -> str:
        """The version as text for messages."""
        return ".".join(map(str, self.version)) or "of unknown version"

    @property
    def has_engines(self) -> bool:
        """Whether it has the second engine, beside the classic one or instead of it."""
        return self.version >= _ENGINES_SINCE

    @property
    def has_classic_engine(self) -> bool:
        """Whether it has the engine that boots goldfish; assumed if the version is unknown."""
        # A fourth number may follow: the build's.
        return self.version[:3] <= _CLASSIC_UNTIL

    @property
    def is_32_bit(self) -> bool:
        """Whether at least the program that is started first is a 32-bit one."""
        return bool(self.version) and not self.has_engines


@dataclass(frozen=True)
class Avd:
    """A virtual device, as its config.ini describes it; `api` is None if unknown.

    Its images are in the first of `folders` that has them: the AVD's own folder, then those
    of its system image, which may be relative to the SDK's folder.
    """

    name: str
    abi: str
    api: int | None
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Emulator:
    """What is started: the SDK's emulator, with an AVD, for the kernels of a machine."""

    sdk: Sdk
    avd: Avd
    machine: SdkMachine


def find(environment: Mapping[str, str] | None = None) -> Sdk:
    """Find the SDK by ANDROID_HOME or ANDROID_SDK_ROOT, or else the emulator on PATH.

    Raises ToolMissingError, whose message is one line, if there is none.
    """
    env = os.environ if environment is None else environment
    for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        if root := env.get(variable):
            for name in _EMULATORS:
                program = Path(root) / name
                if os.access(program, os.X_OK) and program.is_file():
                    return Sdk(program, _version_of(program), Path(root))
            raise ToolMissingError(
                f"{variable} is {root}, where there is no emulator",
                hint=f"install it there ({GOOD_RELEASES}), or --emulator qemu",
            )
    found = shutil.which("emulator", path=env.get("PATH"))
    if found is None:
        raise ToolMissingError(
            "no Android SDK: neither ANDROID_HOME nor ANDROID_SDK_ROOT is set",
            hint="docs/goldfish-3.4.md; or --emulator qemu, which needs none",
        )
    return Sdk(Path(found), _version_of(Path(found)), None)


def _version_of(program: Path) -> tuple[int, ...]:
    """Return the version by the package's properties, or by the program; empty if unknown."""
    properties = program.parent / "source.properties"
    if properties.is_file():
        found = _REVISION.search(properties.read_text(errors="replace"))
    else:
        try:
            said = run([program, "-version"], RunOptions(timeout=_VERSION_SECONDS), check=False)
        except InfrastructureError:
            return ()
        found = _VERSION.search(said.output)
    return tuple(map(int, found[1].split("."))) if found else ()


def avd_folders(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Return the folders that may describe AVDs; earlier ones take precedence."""
    env = os.environ if environment is None else environment
    below = (
        ("ANDROID_AVD_HOME", ""),
        ("ANDROID_EMULATOR_HOME", "avd"),
        ("ANDROID_USER_HOME", "avd"),
        ("ANDROID_SDK_HOME", ".android/avd"),
    )
    folders = [Path(env[name]) / folder for name, folder in below if env.get(name)]
    return [*folders, Path(env.get("HOME", "~")).expanduser() / ".android" / "avd"]


def list_avds() -> list[Avd]:
    """Return the user's AVDs, sorted by name, without those that have no config.ini."""
    found: dict[str, Avd] = {}
    for folder in avd_folders():
        for ini in sorted(folder.glob("*.ini")) if folder.is_dir() else []:
            own = _own_folder(ini)
            if own is not None and ini.stem not in found:
                found[ini.stem] = _avd(ini.stem, own)
    return [found[name] for name in sorted(found)]


def _own_folder(ini: Path) -> Path | None:
    """Return the folder with the AVD's config.ini; None if there is none."""
    beside = ini.with_suffix(".avd")
    folders = (Path(_fields(ini).get("path", beside)), beside)
    return next((f for f in folders if (f / "config.ini").is_file()), None)


def _fields(path: Path) -> dict[str, str]:
    return dict(_FIELD.findall(path.read_text(errors="replace")))


def _avd(name: str, own: Path) -> Avd:
    config = _fields(own / "config.ini")
    images = [config[key] for key in ("image.sysdir.1", "image.sysdir.2") if config.get(key)]
    api = _API.search(" ".join(images)) or _API.search(config.get("target", ""))
    return Avd(
        name,
        config.get("abi.type", "unknown"),
        int(api[1]) if api else None,
        (own, *map(Path, images)),
    )


def data_image(sdk: Sdk, avd: Avd) -> Path:
    """Return the image of /data for the AVD's first boot.

    Raises InfrastructureError if there is none: its system image is missing then.
    """
    root = sdk.root or Path()
    images = [root / folder / "userdata.img" for folder in avd.folders]
    for image in images:
        if image.is_file():
            return image
    raise InfrastructureError(
        f"the AVD {avd.name} has no userdata.img",
        tail="\n".join(f"not there: {image}" for image in images),
        hint="install its system image with the SDK's manager, in the SDK of ANDROID_HOME",
    )


def _unfit(avd: Avd, machine: SdkMachine) -> str:
    """Return why the AVD cannot run the machine's kernels; empty if it can."""
    if avd.abi != machine.abi:
        return f"for {avd.abi}, not {machine.abi}"
    if machine.newest_api is not None and avd.api is not None and avd.api > machine.newest_api:
        return f"API {avd.api}, and this kernel boots none above {machine.newest_api}"
    return ""


def choose_avd(avds: list[Avd], machine: SdkMachine, name: str | None) -> Avd:
    """Return the AVD called `name`; without a name the only one that can run the kernels.

    Raises UsageError if no AVD has the name, if the named one cannot run the machine's
    kernels, or if several can; InfrastructureError if none can.
    """
    if name is not None:
        named = next((avd for avd in avds if avd.name == name), None)
        if named is None:
            known = ", ".join(avd.name for avd in avds) or "none"
            raise UsageError(f"no AVD is called {name!r}", hint=f"there are: {known}")
        if unfit := _unfit(named, machine):
            raise UsageError(f"the AVD {name} is {unfit}", hint=MAKE_AVD)
        return named
    fitting = [avd for avd in avds if not _unfit(avd, machine)]
    if len(fitting) > 1:
        names = ", ".join(avd.name for avd in fitting)
        raise UsageError(f"several AVDs are for {machine.abi}", hint=f"--avd, with one of: {names}")
    if not fitting:
        known = "; ".join(f"{avd.name} is {_unfit(avd, machine)}" for avd in avds)
        message = f"no AVD can run this kernel ({known or 'there are none'})"
        raise InfrastructureError(message, hint=MAKE_AVD)
    return fitting[0]
