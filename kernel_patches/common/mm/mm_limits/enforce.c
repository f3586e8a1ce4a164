// SPDX-License-Identifier: GPL-2.0-only
/*
 * When a user's limit is checked, and what happens until it is kept again.
 *
 * There are three triggers: growth of the user, the syscall my_oom_killer(), and a
 * limit set below what is in use. All end in mm_limits_enforce().
 *
 * A task whose user grows kills where it sees that: when it next begins a fault, also
 * in the middle of a system call, or copies a page table in a fork. There it may hold
 * any lock that sleeps, so it waits for nothing: it kills, gives the victim's memory
 * back, and goes on, or fails. It waits, if the victim's memory cannot be had yet, on
 * its way back to user space.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>

#include "internal.h"

/* How long a task waits for a dying victim, and how often somebody looks. */
#define MM_LIMITS_WAIT_MS	200
#define MM_LIMITS_POLL_MS	10

/* How long a worker goes on before it rests, and rounds of which nothing has come. */
#define MM_LIMITS_TURN_MS	10
#define MM_LIMITS_ROUNDS	16

/* Faults that a system call may go on for while a victim's memory cannot be had. */
#define MM_LIMITS_FAULTS	16

static struct workqueue_struct *mm_limits_queue;

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

static void mm_limits_queue_later(struct mm_limit *limit, struct delayed_work *work,
				  unsigned long delay)
{
	if (atomic_inc_not_zero(&limit->refs) && !queue_delayed_work(mm_limits_queue, work, delay))
		mm_limits_put(limit);
}

/**
 * mm_limits_queue_look - have a worker look at a user, if that is due then
 * @limit:	the user's
 *
 * Context: any.
 */
void mm_limits_queue_look(struct mm_limit *limit)
{
	if (atomic_inc_not_zero(&limit->refs) && !queue_work(mm_limits_queue, &limit->look))
		mm_limits_put(limit);
}

/**
 * mm_limits_queue_poll - have a worker look at a user again soon
 * @limit:	the user's: what could not be had yet, and who waits for it
 *
 * Context: any.
 */
void mm_limits_queue_poll(struct mm_limit *limit)
{
	mm_limits_queue_later(limit, &limit->later, msecs_to_jiffies(MM_LIMITS_POLL_MS));
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
static bool mm_limits_is_told(struct mm_limit *limit, bool dry_run)
{
	mm_limits_ratelimit_quietly(&limit->says);
	if (dry_run && !limit->told && !__ratelimit(&limit->says))
		limit->told = true;
	return dry_run && limit->told;
}

/*
 * Whether the user may stay above its limit for now. It may not allocate any
 * more, so somebody has to look when the time is over.
 */
static bool mm_limits_in_grace(struct mm_limit *limit)
{
	unsigned long grace = READ_ONCE(limit->set.grace) * HZ;

	if (!grace)
		return false;
	if (!limit->over) {
		limit->over = true;
		limit->over_since = jiffies;
	}
	if (!time_before(jiffies, limit->over_since + grace))
		return false;
	/* It may have been longer. */
	if (cancel_delayed_work(&limit->grace_end))
		mm_limits_put(limit);
	mm_limits_queue_later(limit, &limit->grace_end, limit->over_since + grace - jiffies);
	return true;
}

/*
 * One look and what follows from it, with the limit's mutex held. Adds to @killed.
 * Returns whether there has to be another one.
 */
static bool mm_limits_round(struct mm_limit *limit, const char *name,
			    enum mm_limits_trigger trigger, unsigned int *killed)
{
	struct mm_limits_choice choice;
	struct mm_limits_victim victim;
	bool again = false;

	/* Killed while it waited for the mutex: it comes to its end first. */
	if (fatal_signal_pending(current))
		return true;
	if (!mm_limits_choose(limit, name, &choice))
		return false;
	switch (mm_limits_look(limit, &choice, &victim)) {
	case MM_LIMITS_WITHIN:
		mm_limits_is_within(limit);
		break;
	case MM_LIMITS_NOBODY:
		mm_limits_say_stuck(limit, victim.max);
		break;
	case MM_LIMITS_AGAIN:
		again = true;
		break;
	case MM_LIMITS_VICTIM:
		again = !mm_limits_in_grace(limit) && !mm_limits_is_told(limit, choice.dry_run);
		/* None of the user's goes on meanwhile. */
		if (again)
			WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
		/* Nobody dies for a limit that has been raised meanwhile. */
		if (again && READ_ONCE(limit->max) <= victim.max &&
		    READ_ONCE(victim.mm->mm_limit) == limit)
			*killed += mm_limits_kill(limit, &choice, &victim, trigger);
		break;
	}
	mm_limits_forget_victim(&victim);
	return again;
}

/*
 * Whether there is something to do, with the limit's mutex held. Of many tasks that
 * waited for it one has looked for all; a worker comes for the sake of a victim, too.
 */
static bool mm_limits_is_needed(struct mm_limit *limit, enum mm_limits_trigger trigger)
{
	return trigger != MM_LIMITS_BY_ALLOC || mm_limits_is_due(limit) ||
	       (!current->mm && (READ_ONCE(limit->waits) || READ_ONCE(limit->crowded)));
}

/**
 * mm_limits_enforce - kill until a user is within its limit
 * @limit:	the user's
 * @name:	of the policy that chooses the victims, or NULL for the current one
 * @trigger:	why this is called
 *
 * Ends because every kill makes one more mm ineligible, and what is dying is
 * credited. Leaves the rest to a worker if nothing comes of it, because somebody changes
 * what it looks at all the time; a worker also if it has had its turn.
 * Who is killed meanwhile gives it up: its own memory is some of what
 * has to go, and a user whose processes fork without end, with nothing to stop
 * them, could make a request last.
 * With nobody left to kill it says so once, and again only after the user was
 * within its limit.
 *
 * Context: process context that may sleep; no lock of mm_limits held. Allocates nothing.
 * Return: how many processes were killed.
 */
unsigned int mm_limits_enforce(struct mm_limit *limit, const char *name,
			       enum mm_limits_trigger trigger)
{
	unsigned long end = jiffies + msecs_to_jiffies(MM_LIMITS_TURN_MS);
	unsigned int before, killed = 0, rounds = 0;
	bool more = true;

	while (more && !fatal_signal_pending(current) && rounds < MM_LIMITS_ROUNDS &&
	       (current->mm || time_before_eq(jiffies, end))) {
		before = killed;
		/* Dropped in between, for whoever else waits. */
		if (mutex_lock_killable(&limit->mutex))
			break;
		more = mm_limits_is_needed(limit, trigger) &&
		       mm_limits_round(limit, name, trigger, &killed);
		mutex_unlock(&limit->mutex);
		cond_resched();
		rounds = killed == before ? rounds + 1 : 0;
	}
	/* Killed, perhaps by itself, it comes to its end first. */
	if (more)
		mm_limits_queue_look(limit);
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
	/* Root may be nice, and wants it done when it returns. */
	if (mm_limits_is_feeble() && !capable(CAP_SYS_RESOURCE))
		mm_limits_queue_look(limit);
	else
		mm_limits_enforce(limit, NULL, MM_LIMITS_BY_SET);
}

/*
 * What a worker does. It has more of the CPU than those on whose account it looks, who can
 * grow and shrink all the time, or have very many processes killed: it rests as long as it
 * took, and a tick. A task that grows does not wait for that: it looks itself, or if it
 * gets hardly any CPU, waits for the worker.
 */
static void mm_limits_take_turn(struct mm_limit *limit, enum mm_limits_trigger trigger)
{
	unsigned long begun = jiffies;

	mm_limits_enforce(limit, NULL, trigger);
	WRITE_ONCE(limit->rests_for, min(jiffies - begun + 1,
					 msecs_to_jiffies(MM_LIMITS_WAIT_MS)));
	WRITE_ONCE(limit->worked_at, jiffies);
}

static void mm_limits_work_on(struct mm_limit *limit)
{
	unsigned long since = jiffies - READ_ONCE(limit->worked_at);
	unsigned long rests_for = READ_ONCE(limit->rests_for);

	if (since < rests_for)
		mm_limits_queue_later(limit, &limit->later, rests_for - since);
	else
		mm_limits_take_turn(limit, MM_LIMITS_BY_ALLOC);
}

/* Each of these comes with a reference to the limit. */
static void mm_limits_grace_ended(struct work_struct *work)
{
	struct mm_limit *limit = container_of(to_delayed_work(work), struct mm_limit, grace_end);

	if (READ_ONCE(mm_limits_on_alloc))
		mm_limits_take_turn(limit, MM_LIMITS_BY_GRACE);
	mm_limits_put(limit);
}

static void mm_limits_look_later(struct work_struct *work)
{
	struct mm_limit *limit = container_of(to_delayed_work(work), struct mm_limit, later);

	if (READ_ONCE(mm_limits_on_alloc))
		mm_limits_work_on(limit);
	mm_limits_put(limit);
}

static void mm_limits_look_now(struct work_struct *work)
{
	struct mm_limit *limit = container_of(work, struct mm_limit, look);

	if (READ_ONCE(mm_limits_on_alloc) && mm_limits_is_due(limit))
		mm_limits_work_on(limit);
	mm_limits_put(limit);
}

/**
 * mm_limits_init_works - set up what workers do for a limit
 * @limit:	a new one
 */
void mm_limits_init_works(struct mm_limit *limit)
{
	INIT_WORK(&limit->look, mm_limits_look_now);
	INIT_DELAYED_WORK(&limit->later, mm_limits_look_later);
	INIT_DELAYED_WORK(&limit->grace_end, mm_limits_grace_ended);
}

/*
 * The next user that the request @turn has not seen to, with a reference; NULL if
 * there is none. Newer requests do this one's work.
 */
static struct mm_limit *mm_limits_next_in_turn(unsigned long turn)
{
	struct mm_limit *limit;

	mm_limits_lock_table();
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		if ((long)(limit->turn - turn) < 0) {
			limit->turn = turn;
			atomic_inc(&limit->refs);
			mutex_unlock(&my_mm_limits.lock);
			return limit;
		}
	}
	mutex_unlock(&my_mm_limits.lock);
	return NULL;
}

/**
 * mm_limits_queue_all - have workers look at all users
 *
 * Context: process context, may sleep; no lock of mm_limits held.
 */
void mm_limits_queue_all(void)
{
	struct mm_limit *limit;

	mm_limits_lock_table();
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		/* Also at who was above its limit already, for whatever was to come then. */
		WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
		mm_limits_queue_look(limit);
	}
	mutex_unlock(&my_mm_limits.lock);
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
		limit = mm_limits_next_in_turn(turn);
		if (!limit)
			break;
		killed += mm_limits_enforce(limit, name, MM_LIMITS_BY_SYSCALL);
		mm_limits_put(limit);
	}
	return killed;
}
EXPORT_SYMBOL_GPL(mm_limits_enforce_all);

/*
 * Somebody may have to die, and somebody else decides that, who may get no CPU for it:
 * meanwhile every page counts, and nobody is to go on as if all was well.
 */
static void mm_limits_expect_victim(struct mm_limit *limit)
{
	if (limit->stuck || limit->set.grace || limit->set.dry_run)
		return;
	mm_limits_go_near(limit);
	if (READ_ONCE(limit->crowded))
		return;
	WRITE_ONCE(limit->crowded, true);
	/* That may have been decided meanwhile. */
	mm_limits_queue_poll(limit);
}

/*
 * Kills for @limit where any lock may be held. Whoever else looks at it now does this
 * one's work.
 */
static void mm_limits_enforce_at_once(struct mm_limit *limit)
{
	unsigned int killed = 0, rounds = 0;
	bool more = true;

	while (more && READ_ONCE(mm_limits_on_alloc) && mm_limits_is_due(limit) &&
	       !fatal_signal_pending(current) && rounds++ < MM_LIMITS_ROUNDS) {
		if (mm_limits_is_feeble() || !mutex_trylock(&limit->mutex)) {
			mm_limits_expect_victim(limit);
			return;
		}
		more = mm_limits_round(limit, NULL, MM_LIMITS_BY_ALLOC, &killed);
		mutex_unlock(&limit->mutex);
	}
	/* Others change what is looked at all the time: every page counts until it is decided. */
	if (more && rounds > MM_LIMITS_ROUNDS)
		mm_limits_expect_victim(limit);
	/* If it has killed itself, others are not to wait until somebody polls. */
	if (more && rounds)
		mm_limits_queue_look(limit);
}

/* Whether the user is above its limit, with what is dying. */
static bool mm_limits_is_above(struct mm_limit *limit)
{
	unsigned long sum = max(mm_limits_sum(limit) + READ_ONCE(limit->held_back), 0L);

	return mm_limits_is_over(sum, READ_ONCE(limit->max));
}

/* Whether only what is dying keeps the user above its limit: some may have gone meanwhile. */
static bool mm_limits_is_crowded(struct mm_limit *limit)
{
	return READ_ONCE(limit->crowded) && READ_ONCE(mm_limits_on_alloc) &&
	       mm_limits_is_above(limit);
}

/*
 * Whether the current task, in the middle of anything, has to do without more memory. One
 * that ends decides nothing: what it still takes, as for a list of robust futexes, is what
 * there is to be bounded.
 */
static bool mm_limits_has_to_fail(struct mm_limit *limit, unsigned int faults)
{
	bool ends = current->flags & PF_EXITING;
	unsigned int killed = 0;

	/* It would only make its user larger, and its end later. */
	if (!ends && fatal_signal_pending(current))
		return true;
	if (!READ_ONCE(mm_limits_on_alloc) || limit->set.grace || limit->set.dry_run)
		return false;
	if (!READ_ONCE(limit->crowded) && !ends)
		return false;
	mm_limits_hold(current);
	current->mm_limits_faults += faults;
	if (current->mm_limits_faults <= MM_LIMITS_FAULTS)
		return false;
	/* The victim may have let go since somebody looked: nobody fails without need. */
	if (!ends && !mm_limits_is_feeble() && mutex_trylock(&limit->mutex)) {
		mm_limits_round(limit, NULL, MM_LIMITS_BY_ALLOC, &killed);
		mutex_unlock(&limit->mutex);
	}
	if (!ends && fatal_signal_pending(current))
		return true;
	/* All faults do until this system call is over: some calls try again. */
	if ((ends || READ_ONCE(limit->crowded)) &&
	    mm_limits_is_over(mm_limits_measure(limit), READ_ONCE(limit->max)))
		return true;
	current->mm_limits_faults = 0;
	return false;
}

static bool mm_limits_check(unsigned int faults)
{
	struct mm_limit *limit;
	bool fails;

	if (!current->mm || current->flags & (PF_KTHREAD | PF_MEMALLOC | PF_DUMPCORE))
		return false;
	limit = mm_limits_of(current->mm);
	if (!limit) {
		mm_limits_hold_back();
		return false;
	}
	if (!(current->flags & PF_EXITING))
		mm_limits_enforce_at_once(limit);
	fails = mm_limits_has_to_fail(limit, faults);
	mm_limits_hold_back();
	mm_limits_put(limit);
	return fails;
}

/**
 * __mm_limits_folded - the slow part of mm_limits_folded()
 *
 * Context: a fault that begins; any lock that sleeps may be held.
 * Return: whether the fault has to fail.
 */
bool __mm_limits_folded(void)
{
	return mm_limits_check(1);
}

/**
 * __mm_limits_copy - the slow part of mm_limits_copy()
 *
 * Context: a fork that copies a page table.
 * Return: whether the fork has to fail.
 */
bool __mm_limits_copy(void)
{
	/* A table is as much as a fault of each kind together. */
	return mm_limits_check(MM_LIMITS_FAULTS + 1);
}

/**
 * __mm_limits_remote - the slow part of mm_limits_remote()
 * @mm:	another one's, perhaps
 *
 * Whoever has its memory open may write it, also if its user is another one and it is gone.
 * Not root's debugger fails, or who else could have the memory for itself, without a limit.
 *
 * Context: as __mm_limits_folded().
 * Return: whether the fault has to fail.
 */
bool __mm_limits_remote(struct mm_struct *mm)
{
	struct mm_limit *own, *limit;
	bool fails = false;

	own = current->mm ? READ_ONCE(current->mm->mm_limit) : NULL;
	if (!own || current->mm == mm || current->flags & PF_KTHREAD)
		return false;
	limit = mm_limits_of(mm);
	if (!limit)
		return false;
	if (limit != own) {
		mm_limits_enforce_at_once(limit);
		/* What is held back may have been told since somebody looked. */
		fails = READ_ONCE(mm_limits_on_alloc) && !limit->set.grace &&
			!limit->set.dry_run && mm_limits_is_above(limit) &&
			mm_limits_is_over(mm_limits_measure(limit), READ_ONCE(limit->max));
	}
	mm_limits_put(limit);
	return fails;
}

/* With nobody left to kill none of the user's is held up, but this one may be the next. */
static bool mm_limits_waits_for_worker(struct mm_limit *limit)
{
	return READ_ONCE(mm_limits_on_alloc) && limit->stuck && mm_limits_is_feeble() &&
	       mm_limits_is_due(limit);
}

/**
 * __mm_limits_resume - the slow part of mm_limits_resume()
 *
 * Keeps a task from going on while what its user has is over the limit for no other
 * reason than that a victim has not let go of its own yet: a user that went on
 * allocating meanwhile could get anywhere. A worker looks until it has.
 *
 * Context: on the way to user space; no lock held.
 */
void __mm_limits_resume(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(MM_LIMITS_WAIT_MS);
	struct mm_limit *limit;

	current->mm_limits_due = false;
	current->mm_limits_faults = 0;
	if (!current->mm)
		return;
	mm_limits_settle_for_good(current->mm);
	/* There was no memory for an entry: it does not go on without one. */
	if (current->mm_limits_due)
		schedule_timeout_killable(msecs_to_jiffies(MM_LIMITS_POLL_MS));
	limit = mm_limits_of(current->mm);
	if (!limit)
		return;
	if (READ_ONCE(mm_limits_on_alloc) && mm_limits_is_due(limit)) {
		if (mm_limits_is_feeble()) {
			mm_limits_queue_look(limit);
			mm_limits_expect_victim(limit);
		} else {
			mm_limits_enforce(limit, NULL, MM_LIMITS_BY_ALLOC);
		}
	}
	while ((mm_limits_is_crowded(limit) || mm_limits_waits_for_worker(limit)) &&
	       !mm_limits_is_of_io_uring(current) && time_before(jiffies, end) &&
	       !fatal_signal_pending(current))
		schedule_timeout_killable(msecs_to_jiffies(MM_LIMITS_POLL_MS));
	mm_limits_put(limit);
}

/*
 * Before any limit can be set. With a rescuer, so that it goes on without memory. A look may
 * take long: other work of its CPU does not wait for it.
 */
static int __init mm_limits_queue_init(void)
{
	mm_limits_queue = alloc_workqueue("mm_limits",
					  WQ_HIGHPRI | WQ_MEM_RECLAIM | WQ_CPU_INTENSIVE, 0);
	return mm_limits_queue ? 0 : -ENOMEM;
}
core_initcall(mm_limits_queue_init);
