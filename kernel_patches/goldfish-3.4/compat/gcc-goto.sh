#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: the tree finds out that the compiler has 'asm goto', or does not ask, or the compiler
# has none. Run in the kernel's tree.
test -e scripts/gcc-goto.sh || exit 0
command -v "${CROSS_COMPILE}gcc" || exit 1
test "$(sh scripts/gcc-goto.sh "${CROSS_COMPILE}gcc")" != y || exit 0
test "$(sh scripts/gcc-goto.sh "${CROSS_COMPILE}gcc" -fno-pie)" != y
