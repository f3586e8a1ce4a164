/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of mm/mm_limits/.
 *
 * Locks, outermost first:
 *   the provider's rw_semaphore	syscalls.c: a module may not go away
 *   my_mm_limits.lock			the table or the ranges change, or are walked
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
#include <linux/mm_limits_uid.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/workqueue.h>
#ifdef MM_LIMITS_SCHED_IS_APART
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#endif

#include "core.h"

struct file;

/**
 * struct mm_limits_candidate - who could have died, as an event
 * @scan:	in which it was weighed
 * @uid:	whose limit it was
 * @pid:	the process
 * @score:	what the policy gave it
 * @usage:	its memory
 * @adj:	its oom_score_adj
 * @admin:	whether it has CAP_SYS_ADMIN
 * @total:	pages of memory and swap that the machine has
 * @policy:	the policy's name
 */
struct mm_limits_candidate {
	unsigned long scan;
	uid_t uid;
	pid_t pid;
	s64 score;
	const struct mm_limits_usage *usage;
	int adj;
	bool admin;
	unsigned long total;
	const char *policy;
};

enum mm_limits_trigger {
	MM_LIMITS_BY_ALLOC,
	MM_LIMITS_BY_SYSCALL,
	MM_LIMITS_BY_SET,
	MM_LIMITS_BY_GRACE,
};

/* Which of the settings somebody has given. */
#define MM_LIMITS_MAX		1
#define MM_LIMITS_GRACE		2
#define MM_LIMITS_POLICY	4
#define MM_LIMITS_DRY_RUN	8

/**
 * struct mm_limits_settings - what can be set of a limit
 * @given:	which of the rest count, as bits
 * @max:	bytes; ULONG_MAX takes the limit away
 * @grace:	for how many seconds it may be exceeded
 * @policy:	the user's own, or empty for the current one
 * @dry_run:	whether kills are only recorded
 */
struct mm_limits_settings {
	unsigned int given;
	unsigned long max;
	unsigned int grace;
	char policy[MM_LIMITS_POLICY_LEN];
	bool dry_run;
};

/**
 * struct mm_limit - one user's limit and what became of it
 * @hash:		in the table of those by uid, in table.c
 * @list:		in my_mm_limits
 * @rcu:		frees it after its last reader
 * @refs:		the table's own reference, and one for each user of it
 * @uid:		whose limit it is
 * @adopted:		not set for this user, but for a range of users; takes no slot
 * @max:		bytes; read without a lock
 * @grown:		pages by which what counts for it has grown, since ever; what the
 *			end of an mm frees is left out
 * @freed:		pages that were given back, since ever
 * @mark:		above this @grown, and
 * @low:		above this @freed, its usage is worked out again, and
 * @anew:		in any case; read without a lock
 * @watched:		whether @freed counts: while it is above its limit, or is scanned;
 *			read without a lock
 * @near:		whether its threads hold nothing back; read without a lock
 * @look:		has a worker do that; has a reference then
 * @crowded:		whether only what is dying keeps it above its limit; read
 *			without a lock
 *
 * The rest belongs to whoever holds mm_limits_mutex.
 *
 * @tally:		resident pages at the last scan, and the choice of a victim
 * @threads:		threads of the user's processes at the last scan
 * @base, @freed_base:	@grown and @freed when that began
 * @peak:		the largest sum of both ever seen, in pages
 * @overshoot:		the most that the sum was ever seen above the limit, in pages
 * @kills:		processes killed
 * @set:		the other settings
 * @over:		whether it is above its limit, in its period of grace
 * @over_since:		since when, in jiffies
 * @grace_end:		looks again when the period ends; has a reference then
 * @says:		how often it is told what nobody dies for
 * @told:		a kill that is only to be recorded has been
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
	bool adopted;
	unsigned long max;
	atomic_long_t grown;
	atomic_long_t freed;
	long mark;
	long low;
	bool anew;
	bool watched;
	bool near;
	struct work_struct look;
	bool crowded;

	struct mm_limits_tally tally;
	unsigned long threads;
	long base;
	long freed_base;
	unsigned long peak;
	unsigned long overshoot;
	unsigned long kills;
	struct mm_limits_settings set;
	bool over;
	unsigned long over_since;
	struct delayed_work grace_end;
	struct ratelimit_state says;
	bool told;
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

/**
 * struct mm_limits_range - what users get that have no limit of their own
 * @first, @last:	their uids
 * @set:		their settings
 */
struct mm_limits_range {
	uid_t first;
	uid_t last;
	struct mm_limits_settings set;
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
struct mm_limit *mm_limits_adopt(kuid_t uid);
int mm_limits_apply(kuid_t uid, const struct mm_limits_settings *set, bool privileged);
int mm_limits_apply_range(uid_t first, uid_t last, const struct mm_limits_settings *set);
bool mm_limits_in_range(kuid_t uid);
const struct mm_limits_range *mm_limits_range(unsigned int index);

/* charge.c */
bool mm_limits_is_due(struct mm_limit *limit);
void mm_limits_set_mark(struct mm_limit *limit, bool decides);
void mm_limits_attach(struct mm_struct *mm, struct mm_limit *limit, bool scanned);
struct mm_limit *mm_limits_resolve(struct task_struct *p, struct mm_struct *mm);
void mm_limits_spread_news(void);
bool mm_limits_has_none(void);
void mm_limits_show_unborn(void (*show)(struct mm_struct *mm, void *data), void *data);

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

/* control.c */
ssize_t mm_limits_control(struct file *file, const char __user *buffer, size_t count,
			  loff_t *pos);

/* kill.c */
unsigned int mm_limits_kill(struct mm_limit *limit, const struct mm_limits_policy *policy,
			    struct mm_limits_victim *victim, enum mm_limits_trigger trigger);

/* enforce.c */
unsigned int mm_limits_enforce(struct mm_limit *limit, const char *policy,
			       enum mm_limits_trigger trigger);
void mm_limits_enforce_set(struct mm_limit *limit);
void mm_limits_grace_ended(struct work_struct *work);
void mm_limits_look(struct work_struct *work);
unsigned long mm_limits_bytes(unsigned long pages);

/* policy.c */
const struct mm_limits_policy *mm_limits_find_policy(const char *name);
extern const struct mm_limits_policy *mm_limits_policy;

/* kernel/sys_ni.c; not every linux/syscalls.h has it */
asmlinkage long sys_ni_syscall(void);

/* sysctl.c */
extern bool mm_limits_on_alloc;

#endif /* _MM_LIMITS_INTERNAL_H */
