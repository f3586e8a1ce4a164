# SPDX-License-Identifier: MIT
"""The user's Android NDK, which builds the programs if there is one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.core import typed_json
from harness.core.errors import InfrastructureError, ToolMissingError

_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
_PATH = "PATH"
_REVISION = re.compile(r"^Pkg\.Revision\s*=\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Ndk:
    """An `ndk-build`, and what its NDK states about itself.

    `newest_api` is the highest API level that it builds for; None for NDKs before r17, which do
    not state it. `named_by` is the variable that names the NDK, or PATH.
    """

    build: Path
    revision: str
    newest_api: int | None
    named_by: str

    @property
    def without(self) -> str:
        """The advice on how to have Debian's compiler build the programs instead."""
        how = "take ndk-build off PATH" if self.named_by == _PATH else f"unset {self.named_by}"
        return f"{how} to have Debian's compiler build the programs"


def find(environment: Mapping[str, str] | None = None) -> Ndk | None:
    """Return the NDK that ANDROID_NDK_HOME or ANDROID_NDK_ROOT names, or that of ndk-build on PATH.

    None if there is none of these. Raises ToolMissingError if a variable names a folder without
    an ndk-build, InfrastructureError for a damaged NDK.
    """
    env = os.environ if environment is None else environment
    for variable in _VARIABLES:
        if root := env.get(variable):
            build = Path(root) / "ndk-build"
            if not (build.is_file() and os.access(build, os.X_OK)):
                raise ToolMissingError(
                    f"{variable} is {root}, where there is no ndk-build",
                    hint=f"unset {variable} to have Debian's compiler build the programs",
                )
            return _ndk(build, build.parent, variable)
    on_path = shutil.which("ndk-build", path=env.get(_PATH))
    if on_path is None:
        return None
    return _ndk(Path(on_path), Path(on_path).resolve().parent, _PATH)


def _ndk(build: Path, root: Path, named_by: str) -> Ndk:
    return Ndk(build, _revision(root), _newest_api(root), named_by)


def _revision(root: Path) -> str:
    """Return the revision in source.properties, or in RELEASE.TXT, which NDKs before r11 have."""
    properties, release = root / "source.properties", root / "RELEASE.TXT"
    if properties.is_file() and (found := _REVISION.search(properties.read_text())):
        return found[1]
    return release.read_text().strip() if release.is_file() else "unknown"


@dataclass(frozen=True)
class _Platforms:
    """The part of an NDK's platforms.json that counts here."""

    max: int


def _newest_api(root: Path) -> int | None:
    """Return the highest API level that the NDK in `root` builds for; None if not stated."""
    platforms = root / "meta" / "platforms.json"
    if not platforms.is_file():
        return None
    try:
        return typed_json.read(_Platforms, platforms.read_text()).max
    except ValueError as error:
        raise InfrastructureError(
            f"{platforms} does not say for which API levels this NDK builds",
            hint="install the NDK again",
        ) from error


def ndk_build_argv(
    ndk: Ndk, *, project: Path, abi: str, folder: Path, include: Path, jobs: int
) -> list[str]:
    """Return the command that builds the one program of `project` into `folder`.

    Nothing is written to the project.
    """
    # Static programs must be built for the newest API level that the NDK knows. For older
    # levels, r23 and later link code with which bionic aborts at the program's start
    # (android/ndk#1647). For make, this argument takes precedence over Application.mk.
    platform = [] if ndk.newest_api is None else [f"APP_PLATFORM=android-{ndk.newest_api}"]
    return [
        str(ndk.build),
        f"NDK_PROJECT_PATH={project}",
        f"APP_BUILD_SCRIPT={project / 'jni' / 'Android.mk'}",
        f"NDK_APPLICATION_MK={project / 'jni' / 'Application.mk'}",
        f"APP_ABI={abi}",
        *platform,
        f"NDK_OUT={folder / 'obj'}",
        f"NDK_LIBS_OUT={folder / 'libs'}",
        f"MM_LIMITS_INCLUDE={include}",
        "V=1",
        f"-j{jobs}",
    ]
