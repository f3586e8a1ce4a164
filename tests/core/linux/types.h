/* SPDX-License-Identifier: GPL-2.0-only */
/* All that core.h takes of the kernel, for the host. */
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

#include <stdbool.h>
#include <stdint.h>

typedef int64_t s64;

#endif
