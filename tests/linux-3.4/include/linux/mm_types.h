/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_TYPES_H
#define _LINUX_MM_TYPES_H

#include <linux/types.h>
#include <linux/atomic.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
struct core_state;
enum { MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, NR_MM_COUNTERS };
/* Where page tables have locks of their own: with four CPUs at least. */
#ifndef WITHOUT_SPLIT_RSS_COUNTING
#define SPLIT_RSS_COUNTING
struct task_rss_stat { int events; int count[NR_MM_COUNTERS]; };
#endif
struct mm_rss_stat { atomic_long_t count[NR_MM_COUNTERS]; };
struct vm_area_struct {
	unsigned long vm_start;
	unsigned long vm_end;
	unsigned long vm_flags;
};
struct mm_struct {
	struct mm_rss_stat rss_stat;
	atomic_t mm_users;
	atomic_t mm_count;
	struct rw_semaphore mmap_sem;
	unsigned long nr_ptes;
	unsigned long flags;
#ifdef CONFIG_MM_LIMITS
	/* By the series. */
	spinlock_t mm_limits_lock;
	struct list_head mm_limits_tasks;
	unsigned long mm_limits_count;
	struct mm_limit *mm_limit;
	struct list_head mm_limits_node;
	long mm_limits_charged;
	unsigned long mm_limits_dying;
	bool mm_limits_doomed;
	bool mm_limits_tells;
	long mm_limits_changes;
	unsigned int mm_limits_uid;
	unsigned long mm_limits_reaped;
	unsigned long mm_limits_kept;
	struct mm_struct *mm_limits_put;
#endif
	struct core_state *core_state;
};

#endif
