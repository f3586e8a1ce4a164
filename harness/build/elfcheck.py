# SPDX-License-Identifier: MIT
"""Reading a compiler's output, and finding reasons why it would not run on the device."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import E_FLAGS
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import ARMAttributesSection, NoteSection
from elftools.elf.segments import InterpSegment

from harness.core.errors import BuildError
from harness.targets.model import ElfAbi

# The value of Tag_ABI_VFP_args that says "in VFP registers".
_VFP_ARGS_HARD = 1
# Bionic reserves slots before a program's thread-local variables. On 32-bit ARM a static program
# whose TLS segment leaves no room for them aborts at its start: "TLS segment is underaligned"
# (android/ndk#1647).
_BIONIC_TLS_ALIGNMENT = 32


@dataclass(frozen=True)
class ElfFacts:
    """The facts that an ELF file states about itself, in pyelftools' names.

    `interpreter` is the dynamic linker that it asks for, `needed` are its shared libraries.
    `hard_float` is None for machines without that distinction. `oldest_kernel` is the oldest one
    that its C library starts on, None if it states none. `tls_alignment` is that of its
    thread-local variables, None if it has none.
    """

    machine: str
    elf_class: int
    file_type: str
    interpreter: str | None
    needed: tuple[str, ...]
    hard_float: bool | None
    oldest_kernel: tuple[int, ...] | None
    tls_alignment: int | None


def read_elf(path: Path) -> ElfFacts:
    """Return the facts about the file at `path`; BuildError if it is no ELF file."""
    try:
        with path.open("rb") as stream:
            return _facts(ELFFile(stream))
    except (ELFError, UnicodeDecodeError) as error:
        raise BuildError(f"{path.name} is not a whole ELF file: {error or 'cut short'}") from error


def _facts(elf: ELFFile) -> ElfFacts:
    segments = list(elf.iter_segments())
    interpreters = [s.get_interp_name() for s in segments if isinstance(s, InterpSegment)]
    needed = [
        tag.needed  # type: ignore[attr-defined]  # pyelftools adds it to tags of this kind
        for segment in segments
        if isinstance(segment, DynamicSegment)
        for tag in segment.iter_tags("DT_NEEDED")
    ]
    return ElfFacts(
        machine=str(elf["e_machine"]),
        elf_class=elf.elfclass,
        file_type=str(elf["e_type"]),
        interpreter=interpreters[0] if interpreters else None,
        needed=tuple(needed),
        hard_float=_hard_float(elf) if elf["e_machine"] == "EM_ARM" else None,
        oldest_kernel=_oldest_kernel(elf),
        tls_alignment=next((s["p_align"] for s in segments if s["p_type"] == "PT_TLS"), None),
    )


def _oldest_kernel(elf: ELFFile) -> tuple[int, ...] | None:
    """Return the oldest kernel, from the note that the GNU C library puts into a program.

    Bionic states no kernel. This is known about it: a static program is built for the newest API
    level, and the NDK's own test of one (static-executable) then runs it on the oldest Android
    that the NDK supports, because such programs "are compatible with old OS versions". Up to r30
    that is Android 5, whose emulator has a kernel 3.4. This project has not tried it on that
    kernel.
    """
    for section in elf.iter_sections():
        if isinstance(section, NoteSection):
            for note in section.iter_notes():
                if note["n_type"] == "NT_GNU_ABI_TAG":
                    about = note["n_desc"]
                    return (about["abi_major"], about["abi_minor"], about["abi_tiny"])
    return None


def _hard_float(elf: ELFFile) -> bool:
    """Return whether floating-point arguments are passed in VFP registers.

    Linkers mark programs in the header's flags. Programs without these flags, and object files,
    state it in the build attributes, where soft float may be left out.
    """
    flags = elf["e_flags"]
    if flags & (E_FLAGS.EF_ARM_ABI_FLOAT_HARD | E_FLAGS.EF_ARM_ABI_FLOAT_SOFT):
        return bool(flags & E_FLAGS.EF_ARM_ABI_FLOAT_HARD)
    return any(
        attribute.value == _VFP_ARGS_HARD
        for section in elf.iter_sections()
        if isinstance(section, ARMAttributesSection)
        for subsection in section.iter_subsections()
        for part in subsection.iter_subsubsections()
        for attribute in part.iter_attributes("TAG_ABI_VFP_ARGS")
    )


def static_program_problems(
    facts: ElfFacts, abi: ElfAbi, kernel: tuple[int, ...] = (), *, bionic: bool = False
) -> list[str]:
    """Return why a file cannot be a static program for `abi` on `kernel`, one phrase per reason.

    `bionic` means that its C library is Android's, because an NDK built it.
    """
    problems = []
    if facts.machine != abi.machine:
        problems.append(f"it is for {facts.machine}, not {abi.machine}")
    if facts.elf_class != abi.elf_class:
        problems.append(f"it has {facts.elf_class} bits, not {abi.elf_class}")
    if facts.file_type not in ("ET_EXEC", "ET_DYN"):
        problems.append(f"it is no program ({facts.file_type})")
    if facts.interpreter is not None:
        problems.append(f"it is not static: it asks for {facts.interpreter}")
    if facts.needed:
        problems.append(f"it is not static: it needs {', '.join(facts.needed)}")
    if facts.hard_float is not None and facts.hard_float != abi.hard_float:
        names = {True: "hard", False: "soft"}
        problems.append(f"its float ABI is {names[facts.hard_float]}, not {names[abi.hard_float]}")
    if kernel and facts.oldest_kernel is not None and facts.oldest_kernel[: len(kernel)] > kernel:
        needs, has = (".".join(map(str, v)) for v in (facts.oldest_kernel, kernel))
        problems.append(f"its C library needs Linux {needs}, not {has}")
    tls = facts.tls_alignment
    if bionic and facts.machine == "EM_ARM" and tls is not None and tls < _BIONIC_TLS_ALIGNMENT:
        problems.append(
            f"its TLS segment is aligned to {tls}, and bionic aborts below {_BIONIC_TLS_ALIGNMENT}"
        )
    return problems


def check_static_program(
    path: Path, abi: ElfAbi, kernel: tuple[int, ...] = (), *, bionic: bool = False
) -> None:
    """Raise BuildError, with all reasons, if `path` would not run on the device."""
    if not path.is_file():
        raise BuildError(f"{path.name} was not built")
    problems = static_program_problems(read_elf(path), abi, kernel, bionic=bionic)
    if not os.access(path, os.X_OK):
        problems.append("it is not executable")
    if problems:
        raise BuildError(f"{path.name} is not what it should be: {'; '.join(problems)}")
