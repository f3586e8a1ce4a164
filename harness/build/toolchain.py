# SPDX-License-Identifier: MIT
"""The versions of the tools that build a kernel."""

from __future__ import annotations

import re
import shutil
from functools import cache

from harness.build.series import Condition, Tool
from harness.core.errors import InfrastructureError
from harness.core.process import require, run
from harness.core.tools import LLVM_PACKAGES
from harness.targets.model import Target

_VERSION = re.compile(r"\d+(?:\.\d+)+")
# GCC before 7 knows only the second option; later ones print less for it.
_GCC_VERSION = ("-dumpfullversion", "-dumpversion")


def compiler(target: Target) -> str:
    """Return the compiler for the kernel of `target`."""
    return "clang" if target.is_llvm else f"{target.cross_compile}gcc"


def make_words(target: Target) -> tuple[str, ...]:
    """Return the variables that tell the kernel's makefiles which toolchain to take."""
    if target.is_llvm:
        # Also for the programs that run on the host. clang knows the architecture by ARCH.
        return ("LLVM=1",)
    return (f"CROSS_COMPILE={target.cross_compile}",)


def linker(target: Target) -> str:
    """Return the linker for the kernel of `target`: `ld.bfd` if there is one, else `ld`.

    The plain `ld` of an NDK is gold, for which old kernels' linker scripts are not made.
    """
    if target.is_llvm:
        return "ld.lld"
    bfd = f"{target.cross_compile}ld.bfd"
    return bfd if shutil.which(bfd) else f"{target.cross_compile}ld"


def toolchain_version(target: Target) -> str:
    """Return the version lines of compiler and linker.

    Raises ToolMissingError if they are missing, and InfrastructureError if they cannot be
    started.
    """
    tools = (compiler(target), linker(target))
    require(*tools, *(LLVM_PACKAGES if target.is_llvm else ()))
    said = [run([tool, "--version"]).output for tool in tools]
    return "; ".join(text.splitlines()[0] for text in said)


def tool_version(target: Target, tool: Tool) -> tuple[int, ...] | None:
    """Return the version of a tool that builds `target`; None if it is missing or states none."""
    commands: dict[Tool, tuple[str, ...]] = {
        "gcc": (f"{target.cross_compile}gcc", *_GCC_VERSION),
        "hostgcc": ("gcc", *_GCC_VERSION),
        "binutils": (linker(target), "--version"),
        "make": ("make", "--version"),
        "perl": ("perl", "-e", 'printf "%vd", $^V'),
    }
    return _ask(commands[tool])


def is_needed(target: Target, condition: Condition | None) -> bool:
    """Return whether a step under `condition` is needed; it is if the version is unknown."""
    if condition is None:
        return True
    version = tool_version(target, condition.tool)
    return version is None or version >= condition.since


@cache
def _ask(command: tuple[str, ...]) -> tuple[int, ...] | None:
    try:
        said = run(command, check=False)
    except InfrastructureError:
        return None
    # The linker's first line ends with the version; the other tools print no other number.
    found = _VERSION.findall(said.output.splitlines()[0] if said.output else "")
    if said.status != 0 or not found:
        return None
    return tuple(map(int, found[-1].split(".")))
