/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MM_LIMITS_LIMITED_H
#define MM_LIMITS_LIMITED_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether the user has a line in /proc/mm_limits, which begins with whose it is. */
bool is_limited(uid_t uid);

/* The bytes that it has resident; 0 without a limit. */
unsigned long limited_rss(uid_t uid);

#endif
