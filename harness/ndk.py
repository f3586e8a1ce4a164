# SPDX-License-Identifier: MIT
"""The Android NDK of the user, which builds the programs where there is one."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolMissingError

_VARIABLES = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT")
_REVISION = re.compile(r"^Pkg\.Revision\s*=\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Ndk:
    """`ndk-build`, and the revision that the NDK states."""

    build: Path
    revision: str


def find(environment: Mapping[str, str] | None = None) -> Ndk | None:
    """The NDK that ANDROID_NDK_HOME or ANDROID_NDK_ROOT name, or of an ndk-build on PATH.

    None where nothing says that there is one. ToolMissingError where a
    variable names a folder that is none.
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
            return Ndk(build, _revision(build.parent))
    on_path = shutil.which("ndk-build", path=env.get("PATH"))
    if on_path is None:
        return None
    return Ndk(Path(on_path), _revision(Path(on_path).resolve().parent))


def _revision(root: Path) -> str:
    """What source.properties says, or RELEASE.TXT, as NDKs before r11 have it."""
    properties, release = root / "source.properties", root / "RELEASE.TXT"
    if properties.is_file() and (found := _REVISION.search(properties.read_text())):
        return found[1]
    return release.read_text().strip() if release.is_file() else "unknown"


def ndk_build_argv(
    ndk: Ndk, *, project: Path, abi: str, folder: Path, include: Path, jobs: int
) -> list[str]:
    """The command that builds the one program of `project` into `folder`.

    Nothing is written to the project.
    """
    return [
        str(ndk.build),
        f"NDK_PROJECT_PATH={project}",
        f"APP_BUILD_SCRIPT={project / 'jni' / 'Android.mk'}",
        f"NDK_APPLICATION_MK={project / 'jni' / 'Application.mk'}",
        f"APP_ABI={abi}",
        f"NDK_OUT={folder / 'obj'}",
        f"NDK_LIBS_OUT={folder / 'libs'}",
        f"MM_LIMITS_INCLUDE={include}",
        "V=1",
        f"-j{jobs}",
    ]
