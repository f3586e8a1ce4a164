# SPDX-License-Identifier: MIT
"""A fake SDK: a folder with a script as its emulator, and AVDs."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_ins import script


def make_sdk(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str = "exit 0",
    *,
    revision: str = "26.1.2",
    tools: str = "emulator",
) -> Path:
    """Make an SDK in `folder`/sdk, and point ANDROID_HOME to it.

    Its emulator is a script with this text; return the path of that.
    """
    home = folder / "sdk"
    program = home / tools / "emulator"
    program.parent.mkdir(parents=True)
    script(program, text)
    if revision:
        (program.parent / "source.properties").write_text(f"Pkg.Revision={revision}\n")
    monkeypatch.setenv("ANDROID_HOME", str(home))
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    monkeypatch.setenv("ANDROID_AVD_HOME", str(folder / "avds"))
    monkeypatch.setenv("HOME", str(folder))
    return program


def make_avd(folder: Path, name: str, abi: str = "armeabi-v7a", api: int = 22) -> None:
    """Make an AVD in `folder`, described as the SDK's tools do it, and its system image."""
    avds = folder / "avds"
    image = folder / "sdk" / "system-images" / f"android-{api}" / "default" / abi
    image.mkdir(parents=True, exist_ok=True)
    (image / "userdata.img").write_bytes(b"fresh" + bytes(1 << 20))
    (avds / f"{name}.avd").mkdir(parents=True)
    (avds / f"{name}.ini").write_text(f"path={avds / name}.avd\ntarget=android-{api}\n")
    (avds / f"{name}.avd" / "config.ini").write_text(
        f"abi.type = {abi}\nhw.cpu.arch=arm\n"
        f"image.sysdir.1=system-images/android-{api}/default/{abi}/\n"
    )
