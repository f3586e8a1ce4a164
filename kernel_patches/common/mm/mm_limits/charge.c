// SPDX-License-Identifier: GPL-2.0-only
/*
 * By how much a user's memory has grown since it was last worked out.
 *
 * Each mm points to the limit that it counts for, as far as anybody knows, and
 * what its counters change by is added to limit->grown. A scan, which knows who
 * really pays, says how far that may go (limit->mark) until there has to be
 * another one: up to there the user is certain to be within its limit.
 *
 * An mm is pointed to a limit by a scan, by its parent's at a fork and by its
 * predecessor's at an exec, by a change of user, and by its own threads when
 * they fold what they have held back.
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>

#include "internal.h"

/* Numbers that only ever grow begin again after months, or on a 32-bit machine hours. */
static bool mm_limits_is_behind(long number, long mark)
{
	return number - mark > 0;
}

/**
 * mm_limits_is_due - whether a user's usage has to be worked out again
 * @limit:	the user's
 *
 * Context: any.
 */
bool mm_limits_is_due(struct mm_limit *limit)
{
	return READ_ONCE(limit->anew) ||
	       mm_limits_is_behind(atomic_long_read(&limit->grown), READ_ONCE(limit->mark)) ||
	       mm_limits_is_behind(atomic_long_read(&limit->freed), READ_ONCE(limit->low));
}

static long mm_limits_clamp(unsigned long pages)
{
	return min(pages, (unsigned long)LONG_MAX / 2);
}

/**
 * mm_limits_set_mark - say when a user's usage has to be worked out again
 * @limit:	the user's, just scanned
 *
 * What was given back while the scan went on may have been given back before it
 * was counted, and then be missing from @grown though it never was in the sum.
 *
 * Context: mm_limits_mutex held.
 */
void mm_limits_set_mark(struct mm_limit *limit)
{
	struct mm_limits_mark mark = mm_limits_mark(&limit->tally,
						    READ_ONCE(limit->max) / PAGE_SIZE,
						    MM_LIMITS_HELD_BACK * limit->threads);
	long freed = atomic_long_read(&limit->freed) - limit->freed_base;

	WRITE_ONCE(limit->near, mark.near);
	WRITE_ONCE(limit->low,
		   limit->freed_base + mm_limits_clamp(mark.shrink ? mark.shrink : ULONG_MAX) - 1);
	WRITE_ONCE(limit->mark, limit->base + mm_limits_clamp(mark.grow) - freed);
	WRITE_ONCE(limit->anew, false);
}

/*
 * Has somebody look: this task, when it next allocates or faults, and a worker,
 * because it may do neither. May be under the lock of a page table.
 */
static void mm_limits_notice(struct mm_limit *limit)
{
	if (!READ_ONCE(mm_limits_on_alloc))
		return;
	current->mm_limits_due = true;
	if (atomic_inc_not_zero(&limit->refs) && !schedule_work(&limit->look))
		mm_limits_put(limit);
}

static void mm_limits_charge(struct mm_limit *limit, long pages)
{
	long grown = atomic_long_add_return(pages, &limit->grown);

	if (READ_ONCE(limit->anew) || mm_limits_is_behind(grown, READ_ONCE(limit->mark)))
		mm_limits_notice(limit);
}

/* After mm_limits_charge() with as many less: see mm_limits_clear(). */
static void mm_limits_free(struct mm_limit *limit, long pages)
{
	long freed = atomic_long_add_return(pages, &limit->freed);

	if (mm_limits_is_behind(freed, READ_ONCE(limit->low)))
		mm_limits_notice(limit);
}

/**
 * __mm_limits_rss - the slow part of mm_limits_rss()
 * @mm:		the mm
 * @pages:	by how much its resident set changes
 *
 * Context: any but an interrupt; the lock of a page table may be held.
 */
void __mm_limits_rss(struct mm_struct *mm, long pages)
{
	struct mm_limit *limit;

	/* The mm has a reference, but may let go of it at any time. */
	rcu_read_lock();
	limit = READ_ONCE(mm->mm_limit);
	/*
	 * Not what the end of an mm frees: its processes have let go of it before,
	 * so that a scan in between has not counted it.
	 */
	if (limit && (pages > 0 || atomic_read(&mm->mm_users)))
		mm_limits_charge(limit, pages);
	if (limit && pages < 0)
		mm_limits_free(limit, -pages);
	rcu_read_unlock();
}

/**
 * mm_limits_attach - have an mm count for a limit from now on
 * @mm:		the mm
 * @limit:	the limit, to which the caller has a reference, or NULL
 * @scanned:	whether the scan that is going on counts @mm where it belongs
 *
 * Context: any but an interrupt; task_lock may be held.
 */
void mm_limits_attach(struct mm_struct *mm, struct mm_limit *limit, bool scanned)
{
	struct mm_limit *old = READ_ONCE(mm->mm_limit);
	unsigned long rss;

	if (old == limit)
		return;
	if (limit)
		atomic_inc(&limit->refs);
	rcu_read_lock();
	if (cmpxchg(&mm->mm_limit, old, limit) == old) {
		/* Whose reference is dropped below; RCU keeps it for the next line. */
		rss = scanned ? 0 : get_mm_rss(mm);
		if (limit && rss)
			mm_limits_charge(limit, rss);
		if (old && rss) {
			mm_limits_charge(old, -(long)rss);
			mm_limits_free(old, rss);
		}
	} else {
		/* Another thread of it was faster. */
		old = limit;
	}
	rcu_read_unlock();
	if (old)
		mm_limits_put(old);
}

/* The limit that @mm counts for, with a reference, or NULL. */
static struct mm_limit *mm_limits_of(struct mm_struct *mm)
{
	struct mm_limit *limit;

	rcu_read_lock();
	limit = READ_ONCE(mm->mm_limit);
	if (limit && !atomic_inc_not_zero(&limit->refs))
		limit = NULL;
	rcu_read_unlock();
	return limit;
}

/*
 * Has @mm count for the user that @p is, by its leader's real uid, so that a
 * thread with credentials of its own escapes nothing.
 */
static void mm_limits_attach_to_user(struct task_struct *p, struct mm_struct *mm)
{
	kuid_t uid = task_uid(p->group_leader);
	struct mm_limit *limit = mm_limits_get(uid);

	if (!limit)
		limit = mm_limits_adopt(uid);
	/* Where there is a range but no memory for an entry, again and soon. */
	if (!limit && mm_limits_in_range(uid))
		p->mm_limits_due = true;
	mm_limits_attach(mm, limit, false);
	if (limit)
		mm_limits_put(limit);
}

/**
 * mm_limits_resolve - see to it that an mm counts for somebody, if it has to
 * @p:	a task that uses it: current, or one that has not run yet
 * @mm:	the mm
 *
 * Where it does already it is left alone: @p may be the younger of two
 * processes that share it. If it is not who pays, the next scan finds out.
 *
 * Context: process context.
 * Return: the limit with a reference, or NULL.
 */
struct mm_limit *mm_limits_resolve(struct task_struct *p, struct mm_struct *mm)
{
	struct mm_limit *limit = mm_limits_of(mm);

	if (limit && READ_ONCE(limit->max) != ULONG_MAX)
		return limit;
	if (limit)
		mm_limits_put(limit);
	mm_limits_attach_to_user(p, mm);
	return mm_limits_of(mm);
}

/**
 * __mm_limits_inherit - have a new mm count for whom the current one counts
 * @mm:	the new one, of a child, or of the same process behind an exec
 *
 * Context: process context.
 */
void __mm_limits_inherit(struct mm_struct *mm)
{
	if (current->mm)
		mm->mm_limit = mm_limits_of(current->mm);
}

/**
 * __mm_limits_mm_free - let go of what an mm counted for
 * @mm:	not in use any more
 *
 * Context: any.
 */
void __mm_limits_mm_free(struct mm_struct *mm)
{
	mm_limits_put(mm->mm_limit);
	mm->mm_limit = NULL;
}

/**
 * __mm_limits_fork - the slow part of mm_limits_fork()
 * @p:	in the list of tasks, and has not run yet
 *
 * A limit that is set meanwhile is either found here or finds the task in the
 * list. A new thread can hold pages back, for which there is no room yet. And no
 * scan has counted what a new process has already, which can have come before it.
 *
 * Context: may sleep.
 */
void __mm_limits_fork(struct task_struct *p)
{
	struct mm_limit *limit;

	if (!p->mm || (p->flags & PF_KTHREAD))
		return;
	/* Pairs with the table's lock, under which the limit is set before the scan. */
	smp_mb();
	limit = mm_limits_resolve(p, p->mm);
	if (!limit)
		return;
	mm_limits_charge(limit, MM_LIMITS_HELD_BACK +
			 (p->mm == current->mm ? 0 : get_mm_rss(p->mm)));
	mm_limits_put(limit);
}

/**
 * __mm_limits_uid_changed - the slow part of mm_limits_cred()
 *
 * All the memory is the new user's at once, also if it never takes a page more,
 * and so is what its threads can hold back, as behind a fork.
 *
 * Context: process context.
 */
void __mm_limits_uid_changed(void)
{
	struct mm_limit *limit;

	if (!current->mm)
		return;
	/* As in __mm_limits_fork(): either finds the other. */
	smp_mb();
	mm_limits_attach_to_user(current, current->mm);
	limit = mm_limits_of(current->mm);
	if (!limit)
		return;
	mm_limits_charge(limit, MM_LIMITS_HELD_BACK * get_nr_threads(current));
	mm_limits_put(limit);
}
