/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of mm/mm_limits/.
 *
 * Locks, outermost first:
 *   the provider's rw_semaphore	syscalls.c: a module may not go away
 *   my_mm_limits.lock			the table changes, or is walked
 *   mm_limits_mutex			one scan, decision or kill at a time
 *   RCU, task_lock, siglock		inside a scan or a kill
 *
 * A memory allocation that may sleep can end in mm_limits_mutex, so nobody
 * allocates that way while holding it; the two outer locks may be held.
 */
#ifndef _MM_LIMITS_INTERNAL_H
#define _MM_LIMITS_INTERNAL_H

#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/mm_limits.h>
#include <linux/sched.h>
#ifdef MM_LIMITS_SCHED_IS_APART
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#endif

#include "core.h"

/* A name in which every byte became \xHH, and its end. */
#define MM_LIMITS_COMM_LEN	(4 * (TASK_COMM_LEN - 1) + 1)

enum mm_limits_trigger {
	MM_LIMITS_BY_ALLOC,
	MM_LIMITS_BY_SYSCALL,
	MM_LIMITS_BY_SET,
};

/**
 * struct mm_limit - one user's limit and what became of it
 * @hash, @list:	in my_mm_limits
 * @rcu:		frees it after its last reader
 * @refs:		the table's own reference, and one for each user of it
 * @uid:		whose limit it is
 * @max:		bytes; read without a lock
 * @credit:		pages that the user may still allocate before its usage
 *			is worked out again
 * @crowded:		whether only what is dying keeps it above its limit; read
 *			without a lock
 *
 * The rest belongs to whoever holds mm_limits_mutex.
 *
 * @tally:		resident pages at the last scan, and the choice of a victim
 * @peak:		the largest sum of both ever seen, in pages
 * @overshoot:		the most that the sum was ever seen above the limit, in pages
 * @kills:		processes killed
 * @turn:		the last request to enforce all limits that saw to it
 * @stuck:		it has been said that nobody is left to kill
 * @scanned:		when its usage was last worked out, in jiffies
 * @last_pid:		the last victim
 * @last_comm:		its name, escaped
 */
struct mm_limit {
	struct hlist_node hash;
	struct list_head list;
	struct rcu_head rcu;
	atomic_t refs;
	kuid_t uid;
	unsigned long max;
	atomic_long_t credit;
	bool crowded;

	struct mm_limits_tally tally;
	unsigned long peak;
	unsigned long overshoot;
	unsigned long kills;
	unsigned long turn;
	bool stuck;
	unsigned long scanned;
	pid_t last_pid;
	char last_comm[MM_LIMITS_COMM_LEN];
};

/**
 * struct mm_limits_victim - a process that a scan chose
 * @task:	leader of its thread group, with a reference
 * @mm:		its memory, pinned: only good to be compared
 * @rss:	resident pages of @mm
 * @score:	what the policy gave it
 * @max:	the limit, in bytes, that the user was found to exceed
 */
struct mm_limits_victim {
	struct task_struct *task;
	struct mm_struct *mm;
	unsigned long rss;
	s64 score;
	unsigned long max;
};

/* What a scan of one user comes to. */
enum mm_limits_found {
	MM_LIMITS_WITHIN,	/* it is within its limit */
	MM_LIMITS_VICTIM,	/* it is not, and there is a victim */
	MM_LIMITS_NOBODY,	/* it is not, and nobody is left to kill */
	MM_LIMITS_AGAIN,	/* the victim, or the limit, went meanwhile */
};

extern struct mutex mm_limits_mutex;

/* An entry that was removed under somebody's hands has ULONG_MAX, and no limit. */
static inline bool mm_limits_is_over(unsigned long pages, unsigned long max)
{
	return mm_limits_exceeds(pages, max, PAGE_SHIFT);
}

/* table.c */
struct mm_limit *mm_limits_find(kuid_t uid);
struct mm_limit *mm_limits_get(kuid_t uid);
void mm_limits_put(struct mm_limit *limit);

/* scan.c */
void mm_limits_scan_all(void);
enum mm_limits_found mm_limits_scan(struct mm_limit *limit, const struct mm_limits_policy *policy,
				    struct mm_limits_victim *victim);
bool mm_limits_protected(struct task_struct *p);
struct task_struct *__mm_limits_lock_mm(struct task_struct *p);

/**
 * mm_limits_lock_mm - find a thread that has an mm
 * @p:	leader of its thread group, perhaps without an mm
 *
 * Context: under rcu_read_lock().
 * Return: the thread, task_lock() held, or NULL if no thread has an mm.
 */
static inline struct task_struct *mm_limits_lock_mm(struct task_struct *p)
{
	struct task_struct *t = __mm_limits_lock_mm(p);

	(void)__cond_lock(&t->alloc_lock, t);
	return t;
}

void mm_limits_mark_dying(struct mm_struct *mm);

/* kill.c */
unsigned int mm_limits_kill(struct mm_limit *limit, const struct mm_limits_policy *policy,
			    struct mm_limits_victim *victim, enum mm_limits_trigger trigger);

/* enforce.c */
unsigned int mm_limits_enforce(struct mm_limit *limit, const char *policy,
			       enum mm_limits_trigger trigger);
void mm_limits_enforce_set(struct mm_limit *limit);
unsigned long mm_limits_bytes(unsigned long pages);

/* policy.c */
const struct mm_limits_policy *mm_limits_find_policy(const char *name);
extern const struct mm_limits_policy *mm_limits_policy;

/* kernel/sys_ni.c; not every linux/syscalls.h has it */
asmlinkage long sys_ni_syscall(void);

/* sysctl.c */
extern bool mm_limits_on_alloc;

#endif /* _MM_LIMITS_INTERNAL_H */
