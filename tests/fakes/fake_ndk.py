# SPDX-License-Identifier: MIT
"""A fake NDK: a folder with a script as its ndk-build, and the smallest ELF programs."""

from __future__ import annotations

import struct
from pathlib import Path

from stand_ins import script

R11 = "Pkg.Desc = Android NDK\nPkg.Revision = 11.2.2725575\n"
R27 = (
    "Pkg.Desc = Android NDK\nPkg.Revision = 27.0.12077973\n"
    "Pkg.BaseRevision = 27.0.12077973\nPkg.ReleaseName = r27\n"
)

# Copies a file to where ndk-build leaves the program of a project.
BUILDS = """\
for word; do
    case $word in
    NDK_PROJECT_PATH=*) name=${{word##*/}} ;;
    APP_ABI=*) abi=${{word#*=}} ;;
    NDK_LIBS_OUT=*) libs=${{word#*=}} ;;
    esac
done
echo "[$abi] Install : $name"
mkdir -p "$libs/$abi"
cp "{program}" "$libs/$abi/$name"
"""


def make_ndk(
    root: Path, text: str = "exit 0", *, properties: str = R27, newest_api: int | None = 35
) -> Path:
    """Make an NDK in `root` whose ndk-build runs `text`; return the path of ndk-build."""
    root.mkdir(parents=True)
    program = script(root / "ndk-build", text)
    if properties:
        (root / "source.properties").write_text(properties)
    if newest_api is not None:
        (root / "meta").mkdir()
        (root / "meta" / "platforms.json").write_text(f'{{"min": 21, "max": {newest_api}}}')
    return program


def arm_program(
    path: Path, *, hard_float: bool = False, interpreter: str = "", tls_alignment: int = 0
) -> Path:
    """Write a program for 32-bit ARM that consists of headers only; static by default.

    If `tls_alignment` is given, the program has thread-local variables with that alignment.
    """
    wanted = interpreter.encode() + b"\0"
    float_abi = 0x400 if hard_float else 0x200
    header = struct.pack(
        "<16sHHIIIIIHHHHHH",
        b"\x7fELF\x01\x01\x01",
        *(2, 40, 1, 0x8000),
        *(52, 0, 0x05000000 | float_abi),
        *(52, 32, bool(interpreter) + bool(tls_alignment)),
        *(40, 0, 0),
    )
    segments = b""
    if tls_alignment:
        segments += struct.pack("<8I", 7, 0, 0, 0, 0, 4, 4, tls_alignment)
    if interpreter:
        place = 52 + 32 + len(segments)
        segments += struct.pack("<8I", 3, place, 0, 0, len(wanted), len(wanted), 4, 1) + wanted
    path.write_bytes(header + segments)
    path.chmod(0o755)
    return path
