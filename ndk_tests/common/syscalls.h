/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two syscalls. Their numbers differ from kernel to kernel; the build writes
 * mm_limits_syscalls.h with those of the kernel that the programs are for.
 * Both return -1 and set errno when they fail.
 */
#ifndef MM_LIMITS_SYSCALLS_WRAPPERS_H
#define MM_LIMITS_SYSCALLS_WRAPPERS_H

#include <sys/types.h>
#include <unistd.h>

#include <mm_limits_syscalls.h>

/* Returns 0, or 1 if another entry was dropped. */
static inline long set_mm_limits(uid_t uid, unsigned long mm_max)
{
	return syscall(__NR_set_mm_limits, uid, mm_max);
}

/* Returns how many processes were killed. */
static inline long my_oom_killer(void)
{
	return syscall(__NR_my_oom_killer);
}

#endif
