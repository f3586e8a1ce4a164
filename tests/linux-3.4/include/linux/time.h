/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TIME_H
#define _LINUX_TIME_H

#include <linux/types.h>
struct timespec { long tv_sec; long tv_nsec; };
static inline s64 timespec_to_ns(const struct timespec *ts)
{
	return (s64)ts->tv_sec * 1000000000L + ts->tv_nsec;
}

#endif
