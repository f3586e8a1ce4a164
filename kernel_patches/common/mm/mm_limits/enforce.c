// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a user's limit is checked, and what happens until it is kept again.
 *
 * There are three triggers: an allocation by the user, the syscall
 * my_oom_killer(), and a limit set below what is in use. All end in
 * mm_limits_enforce().
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/uidgid.h>

#include "internal.h"

/*
 * Pages that a user may allocate between two looks at its usage: as many as
 * are left below the limit, but not so many that growth without allocations
 * (a fork, pages of the page cache) stays unseen for long, and not so few that
 * a user who lives at its limit is looked at for every page.
 */
#define MM_LIMITS_CREDIT_MIN	8UL
#define MM_LIMITS_CREDIT_MAX	256UL

/**
 * mm_limits_bytes - pages as bytes
 * @pages:	a sum of resident pages, which counts shared ones repeatedly
 *
 * Return: bytes; ULONG_MAX if an unsigned long cannot say it.
 */
unsigned long mm_limits_bytes(unsigned long pages)
{
	return pages > ULONG_MAX / PAGE_SIZE ? ULONG_MAX : pages * PAGE_SIZE;
}

static void mm_limits_give_credit(struct mm_limit *limit)
{
	unsigned long max = mm_limits_max_pages(limit);
	unsigned long room = limit->usage < max ? max - limit->usage : 0;

	atomic_long_set(&limit->credit, clamp(room, MM_LIMITS_CREDIT_MIN, MM_LIMITS_CREDIT_MAX));
}

static void mm_limits_say_stuck(struct mm_limit *limit)
{
	if (limit->stuck)
		return;
	limit->stuck = true;
	pr_err("mm_limits: uid=%u is over its limit and has nobody left to kill: uRSS=%lu, mm_max=%lu\n",
	       from_kuid(&init_user_ns, limit->uid), mm_limits_bytes(limit->usage),
	       READ_ONCE(limit->max));
}

/**
 * mm_limits_enforce - kill until a user is within its limit
 * @limit:	the user's
 * @policy:	chooses the victims
 * @trigger:	why this is called
 *
 * Ends because every round makes one more mm ineligible, and what is dying is
 * credited. With nobody left to kill it says so once, and again only after the
 * user was within its limit.
 *
 * Context: process context that may sleep, mm_limits_mutex held, no siglock,
 * task_lock or tasklist_lock held. Allocates nothing.
 * Return: how many processes were killed.
 */
unsigned int mm_limits_enforce(struct mm_limit *limit, const struct mm_limits_policy *policy,
			       enum mm_limits_trigger trigger)
{
	struct mm_limits_victim victim;
	unsigned int killed = 0;

	for (;;) {
		int ret = mm_limits_scan(limit, policy, &victim);

		if (!mm_limits_exceeded(limit)) {
			limit->stuck = false;
			break;
		}
		if (ret == -ESRCH) {
			mm_limits_say_stuck(limit);
			break;
		}
		if (!ret) {
			killed += mm_limits_kill(limit, policy, &victim, trigger);
			put_task_struct(victim.task);
			mmdrop(victim.mm);
		}
		cond_resched();
	}
	mm_limits_give_credit(limit);
	return killed;
}

/**
 * mm_limits_enforce_set - enforce a limit that has just been set
 * @limit:	the user's
 *
 * Context: process context, may sleep; no lock of mm_limits held.
 */
void mm_limits_enforce_set(struct mm_limit *limit)
{
	if (!READ_ONCE(mm_limits_on_alloc))
		return;
	mutex_lock(&mm_limits_mutex);
	mm_limits_enforce(limit, mm_limits_policy, MM_LIMITS_BY_SET);
	mutex_unlock(&mm_limits_mutex);
}

/**
 * mm_limits_enforce_all - enforce the limit of every user, on request
 * @name:	of the policy, or NULL for the current one
 *
 * Context: process context, may sleep; no lock of mm_limits held.
 * Return: how many processes were killed, or -EINVAL if there is no such policy.
 */
long mm_limits_enforce_all(const char *name)
{
	const struct mm_limits_policy *policy;
	struct mm_limit *limit;
	long killed = 0;

	mutex_lock(&my_mm_limits.lock);
	mutex_lock(&mm_limits_mutex);
	policy = name ? mm_limits_find_policy(name) : mm_limits_policy;
	if (!policy) {
		killed = -EINVAL;
	} else {
		mm_limits_scan_all();
		list_for_each_entry(limit, &my_mm_limits.entries, list)
			if (mm_limits_exceeded(limit))
				killed += mm_limits_enforce(limit, policy, MM_LIMITS_BY_SYSCALL);
			else
				limit->stuck = false;
	}
	mutex_unlock(&mm_limits_mutex);
	mutex_unlock(&my_mm_limits.lock);
	return killed;
}
EXPORT_SYMBOL_GPL(mm_limits_enforce_all);

/*
 * Whether the current task may stop here to look for a victim. An allocation
 * that may not sleep can have any lock held, siglock among them. One for
 * reclaim or by somebody who is dying anyway must not be held up.
 */
static bool mm_limits_may_check(gfp_t gfp)
{
	return gfpflags_allow_blocking(gfp) && READ_ONCE(mm_limits_on_alloc) && current->mm &&
	       !(current->flags & (PF_KTHREAD | PF_EXITING | PF_MEMALLOC)) &&
	       !fatal_signal_pending(current);
}

/**
 * __mm_limits_alloc - the slow part of mm_limits_alloc()
 * @gfp:	the allocation's flags
 * @order:	its size
 *
 * The user is the one whom a scan would make pay: the leader's real uid, so
 * that a thread with credentials of its own escapes nothing.
 *
 * Context: any; acts only where mm_limits_may_check() allows it.
 */
void __mm_limits_alloc(gfp_t gfp, unsigned int order)
{
	struct mm_limit *limit;

	if (!mm_limits_may_check(gfp))
		return;
	limit = mm_limits_get(task_uid(current->group_leader));
	if (!limit)
		return;
	if (atomic_long_sub_return(1L << order, &limit->credit) < 0) {
		mutex_lock(&mm_limits_mutex);
		/* Another thread of the user may have looked while this one waited. */
		if (atomic_long_read(&limit->credit) < 0)
			mm_limits_enforce(limit, mm_limits_policy, MM_LIMITS_BY_ALLOC);
		mutex_unlock(&mm_limits_mutex);
	}
	mm_limits_put(limit);
}
