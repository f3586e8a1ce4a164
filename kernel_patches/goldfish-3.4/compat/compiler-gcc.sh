#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: the compiler finds a header for its version. Run in the kernel's tree.
echo '#include <linux/compiler-gcc.h>' |
	"${CROSS_COMPILE}gcc" -E -D__KERNEL__ -D__LINUX_COMPILER_H -I include -x c - >/dev/null
