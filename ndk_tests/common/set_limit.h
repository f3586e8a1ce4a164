/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef MM_LIMITS_SET_LIMIT_H
#define MM_LIMITS_SET_LIMIT_H

#include <sys/types.h>

/*
 * Sets the limit of @uid to @mm_max bytes and prints how that went. Returns 0
 * or 1 as the syscall does, and its errno, negated, if it failed.
 */
long set_limit(uid_t uid, unsigned long mm_max);

#endif
