// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a user's limit is checked, and what happens until it is kept again.
 *
 * There are three triggers: growth of the user, which the task that causes it
 * answers for at its next allocation or fault (see charge.c); the syscall
 * my_oom_killer(); and a limit set below what is in use. All end in
 * mm_limits_enforce().
 */
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>

#include "internal.h"

/* How long an allocation waits for a dying victim, and how often it looks. */
#define MM_LIMITS_WAIT_MS	200
#define MM_LIMITS_POLL_MS	10

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

static void mm_limits_say_stuck(struct mm_limit *limit, unsigned long max)
{
	if (limit->stuck)
		return;
	limit->stuck = true;
	mm_limits_ratelimit_quietly(&limit->says);
	if (__ratelimit(&limit->says))
		pr_err("mm_limits: uid=%u is over its limit and has nobody left to kill: uRSS=%lu, mm_max=%lu\n",
		       from_kuid(&init_user_ns, limit->uid),
		       mm_limits_bytes(limit->tally.usage), max);
}

static void mm_limits_is_within(struct mm_limit *limit)
{
	limit->stuck = false;
	limit->told = false;
	limit->over = false;
}

/*
 * Whether all that there is to be said of a user whose processes are not to be
 * killed has been. One that goes over its limit and back again and again does
 * not fill the log with that.
 */
static bool mm_limits_is_told(struct mm_limit *limit)
{
	mm_limits_ratelimit_quietly(&limit->says);
	if (limit->set.dry_run && !limit->told && !__ratelimit(&limit->says))
		limit->told = true;
	return limit->told;
}

/*
 * Whether the user may stay above its limit for now. It may not allocate any
 * more, so somebody has to look when the time is over.
 */
static bool mm_limits_in_grace(struct mm_limit *limit)
{
	unsigned long grace = limit->set.grace * HZ;

	if (!grace)
		return false;
	if (!limit->over) {
		limit->over = true;
		limit->over_since = jiffies;
	}
	if (!time_before(jiffies, limit->over_since + grace))
		return false;
	atomic_inc(&limit->refs);
	if (!schedule_delayed_work(&limit->grace_end, limit->over_since + grace - jiffies))
		atomic_dec(&limit->refs);
	return true;
}

/* For a request that names a policy, that one; else the user's own, while there is one. */
static const struct mm_limits_policy *mm_limits_policy_for(struct mm_limit *limit,
							   const char *name)
{
	const struct mm_limits_policy *policy;

	if (name)
		return mm_limits_find_policy(name);
	policy = *limit->set.policy ? mm_limits_find_policy(limit->set.policy) : NULL;
	return policy ? policy : mm_limits_policy;
}

/*
 * One scan and what follows from it, with mm_limits_mutex held. Adds to @killed.
 * Returns whether there has to be another one.
 */
static bool mm_limits_round(struct mm_limit *limit, const struct mm_limits_policy *policy,
			    enum mm_limits_trigger trigger, unsigned int *killed)
{
	struct mm_limits_victim victim;
	bool again;

	switch (mm_limits_scan(limit, policy, &victim)) {
	case MM_LIMITS_WITHIN:
		mm_limits_is_within(limit);
		return false;
	case MM_LIMITS_NOBODY:
		mm_limits_say_stuck(limit, victim.max);
		return false;
	case MM_LIMITS_AGAIN:
		return true;
	case MM_LIMITS_VICTIM:
		break;
	}
	again = !mm_limits_in_grace(limit) && !mm_limits_is_told(limit);
	/* None of the user's goes on meanwhile, and whoever comes next looks what is left. */
	if (again)
		WRITE_ONCE(limit->anew, true);
	/* Nobody dies for a limit that is no more. */
	if (again && READ_ONCE(limit->max) == victim.max)
		*killed += mm_limits_kill(limit, policy, &victim, trigger);
	put_task_struct(victim.task);
	mmdrop(victim.mm);
	return again;
}

/**
 * mm_limits_enforce - kill until a user is within its limit
 * @limit:	the user's
 * @name:	of the policy that chooses the victims, or NULL for the current one
 * @trigger:	why this is called
 *
 * Ends because every kill makes one more mm ineligible, and what is dying is
 * credited. A request can be given up by killing who made it: a user whose
 * processes fork without end, with nothing to stop them, could make it last.
 * With nobody left to kill it says so once, and again only after the user was
 * within its limit.
 *
 * Context: process context that may sleep; no mm_limits_mutex, siglock,
 * task_lock or tasklist_lock held. Allocates nothing.
 * Return: how many processes were killed.
 */
unsigned int mm_limits_enforce(struct mm_limit *limit, const char *name,
			       enum mm_limits_trigger trigger)
{
	const struct mm_limits_policy *policy;
	unsigned int killed = 0;
	bool more;

	do {
		/* Dropped in between, for whoever else waits. */
		mutex_lock(&mm_limits_mutex);
		policy = mm_limits_policy_for(limit, name);
		more = policy && mm_limits_round(limit, policy, trigger, &killed);
		mutex_unlock(&mm_limits_mutex);
		cond_resched();
		if (trigger == MM_LIMITS_BY_SYSCALL && fatal_signal_pending(current))
			break;
	} while (more);
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
	if (READ_ONCE(mm_limits_on_alloc))
		mm_limits_enforce(limit, NULL, MM_LIMITS_BY_SET);
}

/**
 * mm_limits_grace_ended - enforce a limit that may not be exceeded any longer
 * @work:	the limit's; comes with a reference to it
 *
 * Context: a worker.
 */
void mm_limits_grace_ended(struct work_struct *work)
{
	struct mm_limit *limit = container_of(to_delayed_work(work), struct mm_limit, grace_end);

	if (READ_ONCE(mm_limits_on_alloc))
		mm_limits_enforce(limit, NULL, MM_LIMITS_BY_GRACE);
	mm_limits_put(limit);
}

/*
 * The next user over its limit that the request @turn has not seen to, with a
 * reference; NULL if there is none. Newer requests do this one's work.
 */
static struct mm_limit *mm_limits_next_exceeded(unsigned long turn)
{
	struct mm_limit *limit, *found = NULL;

	mutex_lock(&my_mm_limits.lock);
	mutex_lock(&mm_limits_mutex);
	mm_limits_scan_all();
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		if (!mm_limits_is_over(limit->tally.usage, limit->max)) {
			mm_limits_is_within(limit);
		} else if ((long)(limit->turn - turn) < 0) {
			limit->turn = turn;
			atomic_inc(&limit->refs);
			found = limit;
			break;
		}
	}
	mutex_unlock(&mm_limits_mutex);
	mutex_unlock(&my_mm_limits.lock);
	return found;
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
	static atomic_long_t turns = ATOMIC_LONG_INIT(0);
	unsigned long turn = atomic_long_inc_return(&turns);
	struct mm_limit *limit;
	long killed = 0;

	if (name && !mm_limits_policy_exists(name))
		return -EINVAL;
	while (!fatal_signal_pending(current)) {
		limit = mm_limits_next_exceeded(turn);
		if (!limit)
			break;
		killed += mm_limits_enforce(limit, name, MM_LIMITS_BY_SYSCALL);
		mm_limits_put(limit);
	}
	return killed;
}
EXPORT_SYMBOL_GPL(mm_limits_enforce_all);

/**
 * mm_limits_look - work out the usage of a user that may be over its limit
 * @work:	the limit's; comes with a reference to it
 *
 * For growth without an allocation, or a fault, behind it, and for a user that
 * has come back to what is allowed.
 *
 * Context: a worker.
 */
void mm_limits_look(struct work_struct *work)
{
	struct mm_limit *limit = container_of(work, struct mm_limit, look);

	if (READ_ONCE(mm_limits_on_alloc) && mm_limits_is_due(limit))
		mm_limits_enforce(limit, NULL, MM_LIMITS_BY_ALLOC);
	mm_limits_put(limit);
}

/*
 * Whether the current task may stop here to look for a victim. An allocation
 * that may not sleep can have any lock held, siglock among them. One for
 * reclaim or by somebody who is dying anyway must not be held up.
 */
static bool mm_limits_may_check(gfp_t gfp)
{
	return mm_limits_may_sleep(gfp) && current->mm &&
	       !(current->flags & (PF_KTHREAD | PF_EXITING | PF_MEMALLOC)) &&
	       !fatal_signal_pending(current);
}

/*
 * Waits for whoever looks at any user's usage now, and looks unless another
 * thread of this user has by then. It stays due meanwhile, so that all of the
 * user's threads wait here for as long as that takes, and none goes on. Who gets
 * killed while it waits has to go, not to look.
 * Returns whether there has to be another look.
 */
static bool mm_limits_look_in_turn(struct mm_limit *limit)
{
	unsigned int killed = 0;
	bool more = false;

	if (mutex_lock_killable(&mm_limits_mutex))
		return false;
	if (mm_limits_is_due(limit))
		more = mm_limits_round(limit, mm_limits_policy_for(limit, NULL),
				       MM_LIMITS_BY_ALLOC, &killed);
	mutex_unlock(&mm_limits_mutex);
	return more;
}

/*
 * Keeps a task that wants memory while what its user has is over the limit for
 * no other reason than that a victim has not let go of its own yet: a user that
 * went on allocating meanwhile could get anywhere. The victim may wait for
 * something that this task holds, so this ends, too.
 */
static void mm_limits_wait(struct mm_limit *limit)
{
	unsigned long end = jiffies + msecs_to_jiffies(MM_LIMITS_WAIT_MS);

	while (READ_ONCE(limit->crowded) && READ_ONCE(mm_limits_on_alloc) &&
	       time_before(jiffies, end)) {
		schedule_timeout_killable(msecs_to_jiffies(MM_LIMITS_POLL_MS));
		if (fatal_signal_pending(current))
			break;
		/* One of those that wait is enough to look. */
		if (time_after(jiffies, READ_ONCE(limit->scanned)))
			mm_limits_enforce(limit, NULL, MM_LIMITS_BY_ALLOC);
	}
}

/* What the current task, which may check, owes to the limit that it counts for. */
static void mm_limits_check(void)
{
	struct mm_limit *limit;

	current->mm_limits_due = false;
	limit = mm_limits_resolve(current, current->mm);
	if (!limit)
		return;
	if (READ_ONCE(mm_limits_on_alloc) && mm_limits_is_due(limit) &&
	    mm_limits_look_in_turn(limit))
		mm_limits_enforce(limit, NULL, MM_LIMITS_BY_ALLOC);
	mm_limits_wait(limit);
	if (READ_ONCE(limit->near))
		mm_limits_fold_soon(current);
	mm_limits_put(limit);
}

/**
 * __mm_limits_alloc - the slow part of mm_limits_alloc()
 * @gfp:	the allocation's flags
 *
 * Context: any; acts only where mm_limits_may_check() allows it. There it may
 * take mm_limits_mutex and sleep for MM_LIMITS_WAIT_MS.
 */
void __mm_limits_alloc(gfp_t gfp)
{
	if (mm_limits_may_check(gfp))
		mm_limits_check();
}

/**
 * __mm_limits_folded - the slow part of mm_limits_folded()
 *
 * Context: may sleep, as __mm_limits_alloc() may; an mmap_lock may be held.
 */
void __mm_limits_folded(void)
{
	/* First what is true of most. */
	if (!current->mm || (!current->mm_limits_due && mm_limits_has_none()))
		return;
	if (mm_limits_may_check(GFP_KERNEL))
		mm_limits_check();
}
