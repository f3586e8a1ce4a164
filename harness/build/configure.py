# SPDX-License-Identifier: MIT
"""Configures a kernel in its build folder, if something has changed that Kconfig reads."""

from __future__ import annotations

from collections.abc import Sequence

from harness.build.kconfig import (
    Fragment,
    check_survived,
    format_fragment,
    merge,
    parse_config,
    read_symbols,
    settle,
    unchosen,
)
from harness.build.kernel_make import KernelMake
from harness.build.tree_file import Overlay
from harness.core.cache import digest

# The endings of files that Kconfig does not read.
_NO_KCONFIG = (".c", ".h", ".S", ".dts", ".dtsi", ".rst", ".txt")


def configure(make: KernelMake, fragments: Sequence[Fragment]) -> None:
    """Write `.config`, and check that every requested line survived."""
    symbols = read_symbols(make.tree.tree, make.target.arch)
    requested = settle(fragments, symbols)
    fragment = make.tree.folder / "requested.config"
    fragment.write_text(format_fragment(requested))
    # allnoconfig and the like read the fragment themselves, so that symbols which become visible
    # by it stay off unless requested. Over a defconfig the fragment is merged.
    make(make.target.board.base_config, env={"KCONFIG_ALLCONFIG": str(fragment)})
    config = make.tree.build / ".config"
    text = config.read_text()
    merged = merge(text, {**unchosen(requested, text, symbols), **requested})
    if parse_config(merged) != parse_config(text):
        config.write_text(merged)
    make(make.target.update_config)
    check_survived(requested, config.read_text(), fragments, symbols)


def made_from(make: KernelMake, files: Overlay, *how: str) -> str:
    """Return a digest of all that a configuration is made from: the patched tree, and `how`."""
    overlaid = [
        part
        for name, file in sorted(files.items())
        if not name.endswith(_NO_KCONFIG)
        for part in (name, b"gone" if file is None else file.data)
    ]
    return digest(make.tree.pristine.digest_without(_NO_KCONFIG), *how, *overlaid)
