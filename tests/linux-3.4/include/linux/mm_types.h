/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_TYPES_H
#define _LINUX_MM_TYPES_H

#include <linux/types.h>
#include <linux/atomic.h>
struct core_state;
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, NR_MM_COUNTERS };
/* Where page tables have locks of their own: with four CPUs at least. */
#ifndef WITHOUT_SPLIT_RSS_COUNTING
#define SPLIT_RSS_COUNTING
struct task_rss_stat { int events; int count[NR_MM_COUNTERS]; };
#endif
struct mm_rss_stat { atomic_long_t count[NR_MM_COUNTERS]; };
struct mm_struct {
	struct mm_rss_stat rss_stat;
	atomic_t mm_users;
	atomic_t mm_count;
	unsigned long nr_ptes;
	unsigned long flags;
#ifdef CONFIG_MM_LIMITS
	/* By the series. */
	unsigned long mm_limits_scan;
	unsigned long mm_limits_dying;
	struct mm_limit *mm_limit;
	struct list_head mm_limits_unborn;
	struct task_struct *mm_limits_maker;
#endif
	struct core_state *core_state;
};

#endif
