# SPDX-License-Identifier: MIT
"""The Android SDK of the user: its emulator, and its virtual devices (AVDs)."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.process import run
from harness.targets import SdkMachine

# Where an SDK has its emulator: of its own since 25.3, before among the tools.
_EMULATORS = ("emulator/emulator", "tools/emulator")
_REVISION = re.compile(r"^Pkg\.Revision\s*=\s*(\d+(?:\.\d+)*)", re.MULTILINE)
_VERSION = re.compile(r"version (\d+(?:\.\d+)+)")
_FIELD = re.compile(r"^\s*([\w.]+)\s*=\s*(.*?)\s*$", re.MULTILINE)
_API = re.compile(r"android-(\d+)")
_VERSION_SECONDS = 20.0
# "-engine classic" came with the second engine, which boots no goldfish kernel,
# and both went with it.
ENGINES_SINCE = (25, 0)
CLASSIC_UNTIL = (28, 0, 25)
GOOD_RELEASES = "SDK tools r24.4.1, or an emulator of version 26.1.2 to 28.0.25"

MAKE_AVD = (
    "android create avd -n gfoom -t android-22 --abi default/armeabi-v7a, or avdmanager "
    'create avd -n gfoom -k "system-images;android-22;default;armeabi-v7a"'
)


@dataclass(frozen=True)
class Sdk:
    """An emulator program, its version (empty where it does not say), and the SDK's folder."""

    emulator: Path
    version: tuple[int, ...]
    root: Path | None

    @property
    def version_text(self) -> str:
        """The version for people."""
        return ".".join(map(str, self.version)) or "of unknown version"


@dataclass(frozen=True)
class Avd:
    """A virtual device, as its config.ini describes it; `api` is None where it does not say."""

    name: str
    abi: str
    api: int | None


def find(environment: Mapping[str, str] | None = None) -> Sdk:
    """The SDK that ANDROID_HOME or ANDROID_SDK_ROOT name, or whose emulator is on PATH.

    Raises ToolMissingError, in one line, where there is none.
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
            hint='README.md, "On the Android Emulator"; or --emulator qemu, which needs none',
        )
    return Sdk(Path(found), _version_of(Path(found)), None)


def _version_of(program: Path) -> tuple[int, ...]:
    """The version that the package states, or the program itself; empty where neither does."""
    properties = program.parent / "source.properties"
    if properties.is_file():
        found = _REVISION.search(properties.read_text(errors="replace"))
    else:
        try:
            said = run([program, "-version"], check=False, timeout=_VERSION_SECONDS)
        except InfrastructureError:
            return ()
        found = _VERSION.search(said.output)
    return tuple(map(int, found[1].split("."))) if found else ()


def avd_folders(environment: Mapping[str, str] | None = None) -> list[Path]:
    """Where AVDs may be described, the surest first."""
    env = os.environ if environment is None else environment
    folders = []
    if home := env.get("ANDROID_AVD_HOME"):
        folders.append(Path(home))
    if home := env.get("ANDROID_SDK_HOME"):
        folders.append(Path(home) / ".android" / "avd")
    folders.append(Path(env.get("HOME", "~")).expanduser() / ".android" / "avd")
    return folders


def list_avds(environment: Mapping[str, str] | None = None) -> list[Avd]:
    """The user's AVDs by name; those whose configuration is gone are left out."""
    found: dict[str, Avd] = {}
    for folder in avd_folders(environment):
        for ini in sorted(folder.glob("*.ini")) if folder.is_dir() else []:
            config = _config_of(ini)
            if config and ini.stem not in found:
                found[ini.stem] = _avd(ini.stem, config)
    return [found[name] for name in sorted(found)]


def _config_of(ini: Path) -> dict[str, str]:
    """The fields of the AVD's config.ini; empty where there is none."""
    fields = _fields(ini)
    beside = ini.parent / f"{ini.stem}.avd"
    folders = [Path(fields["path"])] if "path" in fields else []
    for folder in (*folders, beside):
        if (config := folder / "config.ini").is_file():
            return _fields(config)
    return {}


def _fields(path: Path) -> dict[str, str]:
    return dict(_FIELD.findall(path.read_text(errors="replace")))


def _avd(name: str, config: Mapping[str, str]) -> Avd:
    images = config.get("image.sysdir.1", "")
    api = _API.search(images) or _API.search(config.get("target", ""))
    return Avd(name, config.get("abi.type", "unknown"), int(api[1]) if api else None)


def choose_avd(avds: list[Avd], machine: SdkMachine, name: str | None) -> Avd:
    """The AVD called `name`, or else the only one that can run the machine's kernels.

    Raises UsageError where a name means nothing or several would do, and
    InfrastructureError where there is none.
    """
    known = ", ".join(avd.name for avd in avds) or "none"
    if name is not None:
        for avd in avds:
            if avd.name == name:
                if avd.abi != machine.abi:
                    raise UsageError(
                        f"the AVD {name} is for {avd.abi}, not {machine.abi}", hint=MAKE_AVD
                    )
                return avd
        raise UsageError(f"no AVD is called {name!r}", hint=f"there are: {known}")
    fitting = [avd for avd in avds if avd.abi == machine.abi]
    if len(fitting) > 1:
        names = ", ".join(avd.name for avd in fitting)
        raise UsageError(f"several AVDs are for {machine.abi}", hint=f"--avd, with one of: {names}")
    if not fitting:
        raise InfrastructureError(
            f"no AVD is for {machine.abi} (there are: {known})", hint=MAKE_AVD
        )
    return fitting[0]
