# SPDX-License-Identifier: MIT
"""Kernel reports with source locations added to their addresses."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from harness.core.errors import InfrastructureError
from harness.core.process import RunOptions, run
from harness.kernel_output.reports import GuestReport, find_reports

_NAME = r"[A-Za-z_$][\w.$]*"
# A function with offset and size, or an address without a function after it. If the function is
# in a module, the module's name follows.
_REFERENCE = re.compile(
    rf"(?<![\w.$])(?P<name>{_NAME})\+0x(?P<offset>[0-9a-f]{{1,16}})/0x(?P<size>[0-9a-f]{{1,16}})"
    rf"(?P<module> \[[\w-]+\])?"
    rf"|\[<(?P<address>[0-9a-f]{{8,16}})>\](?! ?\(?{_NAME}\+0x)"
)
# After these words, the address is that of the instruction itself. All other addresses are
# return addresses, which may belong to the next line, or even to the next function.
_EXACT = ("PC is at ", "pc : ")
_DEBUG_SECTIONS = (".debug_line", ".zdebug_line")
# In ARM and AArch64 files a local symbol marks where code or data begins, even in an object file
# that has no other local symbol.
_MAPPING = "$"
_address_of, _place_of = attrgetter("address"), attrgetter("section", "address")
# A function whose file has the same path in every kernel tree: it shows where the tree's top is.
_LANDMARK, _LANDMARK_FILE = "kernel_init", "init/main.c"
_ADDR2LINE_SECONDS = 600.0
_ADDRESS_LINE = re.compile(r"0x[0-9a-f]+")
_PLACE_LINE = re.compile(r"(?P<file>.+):(?P<line>[0-9]+)(?: \(discriminator [0-9]+\))?")


@dataclass(frozen=True)
class _Symbol:
    """A function; `size` is the distance to the next one, as the kernel itself computes it.

    `file` is the file's name without folders, empty if it is unknown.
    """

    name: str
    address: int
    size: int
    file: str


@dataclass(frozen=True)
class _Raw:
    """A symbol as it is in the ELF file; `file` is that of the local symbols around it."""

    name: str
    address: int
    section: int
    file: str
    local: bool


class Decoder:
    """A decoder of addresses, with the symbols of a built kernel.

    `vmlinux` is its ELF file, `cross_compile` the prefix of the tools that built it; their
    addr2line is asked if the file has debug information. Raises InfrastructureError if the file
    is missing, no ELF file, damaged, or without symbols.
    """

    def __init__(self, vmlinux: Path, cross_compile: str) -> None:
        self._vmlinux = vmlinux
        self._addr2line = f"{cross_compile}addr2line"
        symbols, self._has_lines = _read(vmlinux)
        self._by_name: dict[str, list[_Symbol]] = defaultdict(list)
        for symbol in symbols:
            self._by_name[symbol.name].append(symbol)
        self._by_address = sorted(symbols, key=_address_of)

    def decode(self, text: str) -> str:
        """Return `text` with `(file.c:123)` after each address, and each function with an offset.

        Without debug information it is `(file.c)`. An inlined function comes before the one that
        it was inlined into: `(a.h:7 in inlined, file.c:123)`. What is in a module, in no
        function, or possibly in several files stays as it is. Raises InfrastructureError if
        addr2line is missing or fails.
        """
        found = {match.start(): self._find(match) for match in _REFERENCE.finditer(text)}
        asked = {address for place in found.values() if place is not None for address in place[1:]}
        lines = self._lines(asked)

        def annotated(match: re.Match[str]) -> str:
            place = found[match.start()]
            if place is None:
                return match[0]
            symbol, address = place
            shown = lines.get(address) or symbol.file
            return f"{match[0]} ({shown})" if shown else match[0]

        return _REFERENCE.sub(annotated, text)

    def _find(self, match: re.Match[str]) -> tuple[_Symbol, int] | None:
        """Return the function and the address that a reference means, or None."""
        if match["module"] is not None:
            return None
        if match["address"] is not None:
            symbol = self._around(int(match["address"], 16))
            offset = 0 if symbol is None else int(match["address"], 16) - symbol.address
        else:
            offset = int(match["offset"], 16)
            symbol = self._only(match["name"], int(match["size"], 16), offset)
        if symbol is None:
            return None
        is_exact = offset == 0 or match.string.endswith(_EXACT, 0, match.start())
        return symbol, symbol.address + offset - (0 if is_exact else 1)

    def _only(self, name: str, size: int, offset: int) -> _Symbol | None:
        """Return the only function of this name and size that contains the offset, or None."""
        fitting = [one for one in self._by_name.get(name, ()) if one.size == size > offset]
        return fitting[0] if len(fitting) == 1 else None

    def _around(self, address: int) -> _Symbol | None:
        """Return the function that contains the address, or None."""
        index = bisect_right(self._by_address, address, key=_address_of) - 1
        found = self._by_address[index] if index >= 0 else None
        return found if found is not None and address < found.address + found.size else None

    def _lines(self, addresses: Iterable[int]) -> Mapping[int, str]:
        """Return addr2line's answers for the addresses, from one call for all."""
        asked = sorted(addresses)
        if not asked or not self._has_lines:
            return {}
        landmarks = [symbol.address for symbol in self._by_name.get(_LANDMARK, ())]
        words = [f"{address:#x}" for address in (*landmarks, *asked)]
        said = run(
            [self._addr2line, "-e", self._vmlinux, "-a", "-i", "-f", *words],
            RunOptions(timeout=_ADDR2LINE_SECONDS),
        )
        frames = _frames(said.output)
        files = [path for one in landmarks for _, path, _ in frames.get(one, ())[-1:]]
        tops = [path for path in files if path.endswith(f"/{_LANDMARK_FILE}")]
        top = tops[0].removesuffix(_LANDMARK_FILE) if tops else ""
        return {address: _shown(frames.get(address, ()), top) for address in asked}


_Frame = tuple[str, str, str]


def _frames(output: str) -> dict[int, list[_Frame]]:
    """Return addr2line's answers by address: functions, files and lines, the innermost first."""
    found: dict[int, list[_Frame]] = {}
    frames: list[_Frame] = []
    function = ""
    for line in output.splitlines():
        place = _PLACE_LINE.fullmatch(line)
        if _ADDRESS_LINE.fullmatch(line):
            frames = found.setdefault(int(line, 16), [])
        elif place is None:
            # The function's name; or a warning, which never stands between a name and its place.
            function = line
        elif place["file"] != "??" and place["line"] != "0":
            frames.append((function, place["file"], place["line"]))
    return found


def _shown(frames: Iterable[_Frame], top: str) -> str:
    """Return the places of a chain of inlined functions, with paths relative to `top`."""
    places = [f"{path.removeprefix(top)}:{line} in {name}" for name, path, line in frames]
    if places:
        # The text already names the outermost function.
        places[-1] = places[-1].rpartition(" in ")[0]
    return ", ".join(places)


def _read(vmlinux: Path) -> tuple[list[_Symbol], bool]:
    """Return the functions of an ELF file, and whether it has the source's line numbers."""
    try:
        with vmlinux.open("rb") as stream:
            elf = ELFFile(stream)
            has_lines = any(elf.get_section_by_name(name) for name in _DEBUG_SECTIONS)
            symbols = _functions(_raw_symbols(elf))
    except OSError as error:
        raise InfrastructureError(f"{vmlinux} cannot be read: {error.strerror}") from error
    except (ELFError, UnicodeDecodeError) as error:
        raise InfrastructureError(
            f"{vmlinux} is not a whole ELF file: {error or 'cut short'}"
        ) from error
    if not symbols:
        raise InfrastructureError(f"{vmlinux} has no symbols of functions")
    return symbols, has_lines


def _raw_symbols(elf: ELFFile) -> list[_Raw]:
    """Return the symbols in sections that hold code."""
    code = {
        index
        for index, section in enumerate(elf.iter_sections())
        if section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR
    }
    is_arm = elf["e_machine"] == "EM_ARM"
    table = elf.get_section_by_name(".symtab")
    found: list[_Raw] = []
    file = ""
    for symbol in table.iter_symbols() if isinstance(table, SymbolTableSection) else ():
        sort, section = symbol["st_info"]["type"], symbol["st_shndx"]
        if sort == "STT_FILE":
            file = symbol.name
        elif section in code and sort in ("STT_FUNC", "STT_NOTYPE", "STT_OBJECT"):
            # The lowest bit of an ARM function's address marks Thumb code.
            address = symbol["st_value"] & ~(1 if is_arm and sort == "STT_FUNC" else 0)
            local = symbol["st_info"]["bind"] == "STB_LOCAL"
            found.append(_Raw(symbol.name, address, section, file, local))
    return found


def _functions(symbols: Sequence[_Raw]) -> list[_Symbol]:
    """Return the functions, with their sizes and files.

    A local symbol follows its file's name in the table; a global one does not. But the linker
    places an object file's code in one piece. So a global symbol is in the same file as the
    local symbol before it, if every piece begins with a local symbol.
    """
    named = [one for one in symbols if not one.name.startswith((_MAPPING, ".L")) and one.name]
    # Of two symbols at one address, the later one in the table marks what begins there.
    local = sorted((one for one in symbols if one.local), key=_place_of)
    is_mapped = any(one.name.startswith(_MAPPING) for one in symbols)
    addresses = sorted({one.address for one in named})

    def file_of(one: _Raw) -> str:
        if one.local or not is_mapped:
            return one.file if one.local else ""
        index = bisect_right(local, _place_of(one), key=_place_of) - 1
        return local[index].file if index >= 0 and local[index].section == one.section else ""

    def size_of(one: _Raw) -> int:
        index = bisect_right(addresses, one.address)
        return addresses[index] - one.address if index < len(addresses) else 0

    return [_Symbol(one.name, one.address, size_of(one), file_of(one)) for one in named]


def find_decoded(
    consoles: Mapping[int, Path], vmlinux: Path | None, cross_compile: str
) -> tuple[GuestReport, ...]:
    """Return the decoded reports on the consoles, by guest.

    Unlike a kernel log, a console also has a dying kernel's last lines. For `vmlinux` and
    `cross_compile` see Decoder. A report stays as it came if its addresses cannot be decoded.
    """
    found = [
        GuestReport(guest, report.kind, report.title, report.text)
        for guest, console in consoles.items()
        if console.is_file()
        for report in find_reports(console.read_text(encoding="utf-8", errors="replace"))
    ]
    if found and vmlinux is not None:
        with suppress(InfrastructureError):
            decoder = Decoder(vmlinux, cross_compile)
            found = [replace(one, text=decoder.decode(one.text)) for one in found]
    return tuple(found)
