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
 *
 * What a fork copies counts while no process has it yet: such an mm is unborn,
 * and in a list, where a scan finds it. An exec's needs no list: its arguments are
 * counted for the mm before it until it takes that one's place, and then again.
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>

#include "internal.h"

/* Those that count for somebody; irq-safe, because an mm can end anywhere. */
static LIST_HEAD(mm_limits_unborn);
static DEFINE_SPINLOCK(mm_limits_unborn_lock);

/*
 * Moves on whenever somebody who had no limit may have got one. From 1 on: a
 * task starts with 0, having seen nothing.
 */
static atomic_long_t mm_limits_news = ATOMIC_LONG_INIT(1);

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

/*
 * Has somebody look: this task, when it next allocates or faults, and a worker,
 * because it may do neither. May be under the lock of a page table.
 */
static void mm_limits_notice(struct mm_limit *limit)
{
	if (!READ_ONCE(mm_limits_on_alloc))
		return;
	current->mm_limits_due = true;
	mm_limits_fold_soon(current);
	if (atomic_inc_not_zero(&limit->refs) && !schedule_work(&limit->look))
		mm_limits_put(limit);
}

/**
 * mm_limits_set_mark - say when a user's usage has to be worked out again
 * @limit:	the user's, just scanned
 * @decides:	whether what has been found is acted upon
 *
 * What was given back while the scan went on may have been given back before it
 * was counted, and then be missing from @grown though it never was in the sum.
 *
 * Context: mm_limits_mutex held.
 */
void mm_limits_set_mark(struct mm_limit *limit, bool decides)
{
	struct mm_limits_mark mark = mm_limits_mark(&limit->tally,
						    READ_ONCE(limit->max) / PAGE_SIZE,
						    MM_LIMITS_HELD_BACK * limit->threads);
	long freed = atomic_long_read(&limit->freed) - limit->freed_base;
	bool anew = limit->anew;
	long before = limit->mark;
	long grown;

	WRITE_ONCE(limit->near, mark.near);
	WRITE_ONCE(limit->low,
		   limit->freed_base + mm_limits_clamp(mark.shrink ? mark.shrink : ULONG_MAX) - 1);
	WRITE_ONCE(limit->watched, mark.shrink);
	WRITE_ONCE(limit->mark, limit->base + mm_limits_clamp(mark.grow) - freed);
	WRITE_ONCE(limit->anew, false);
	/* Whoever changes the numbers from here on sees these. */
	smp_mb();
	grown = atomic_long_read(&limit->grown);
	/* Who was about to decide finds no reason to any more. */
	if (!decides && mark.shrink && (anew || mm_limits_is_behind(grown, before)))
		WRITE_ONCE(limit->anew, true);
	/*
	 * It can be beyond that already, by growth that was the last. What is freed
	 * only tells above the limit, or an exit would have somebody look all along.
	 */
	if (mark.shrink)
		freed = 0;
	if (limit->anew ||
	    mm_limits_is_behind(grown, limit->base + mm_limits_clamp(mark.grow) - freed) ||
	    mm_limits_is_behind(atomic_long_read(&limit->freed), limit->low))
		mm_limits_notice(limit);
}

static inline void mm_limits_charge(struct mm_limit *limit, long pages)
{
	long grown = atomic_long_add_return(pages, &limit->grown);

	if (READ_ONCE(limit->anew) || mm_limits_is_behind(grown, READ_ONCE(limit->mark)))
		mm_limits_notice(limit);
}

/* After mm_limits_charge() with as many less: see mm_limits_clear(). */
static void mm_limits_free(struct mm_limit *limit, long pages)
{
	long freed;

	if (!READ_ONCE(limit->watched))
		return;
	freed = atomic_long_add_return(pages, &limit->freed);
	if (mm_limits_is_behind(freed, READ_ONCE(limit->low)))
		mm_limits_notice(limit);
}

static void mm_limits_shrink(struct mm_limit *limit, struct mm_struct *mm, long pages)
{
	/*
	 * Not what the end of an mm frees: its processes have let go of it before,
	 * so that a scan in between has not counted it.
	 */
	if (atomic_read(&mm->mm_users))
		mm_limits_charge(limit, -pages);
	mm_limits_free(limit, pages);
}

/**
 * __mm_limits_rss - change a counter of an mm that counts for somebody, perhaps
 * @mm:		the mm
 * @member:	which counter
 * @pages:	by how much
 *
 * Context: any but an interrupt; the lock of a page table may be held.
 */
void __mm_limits_rss(struct mm_struct *mm, int member, long pages)
{
	long count = atomic_long_add_return(pages, &mm->rss_stat.count[member]);
	struct mm_limit *limit;

	mm_limits_trace_rss(mm, member, count);
	if (member == MM_SWAPENTS)
		return;
	/* The mm has a reference, but may let go of it at any time. */
	rcu_read_lock();
	limit = READ_ONCE(mm->mm_limit);
	/* Behind the counter: who knows of this must find it there. */
	if (limit && pages > 0)
		mm_limits_charge(limit, pages);
	else if (limit)
		mm_limits_shrink(limit, mm, -pages);
	/* Whoever folds near the limit holds nothing back from now on. */
	if (limit && READ_ONCE(limit->near) && current->mm == mm)
		mm_limits_fold_soon(current);
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
	long news = atomic_long_read(&mm_limits_news);
	kuid_t uid = task_uid(p->group_leader);
	struct mm_limit *limit;

	/* Pairs with the one in mm_limits_spread_news(). */
	smp_rmb();
	limit = mm_limits_get(uid);
	if (!limit)
		limit = mm_limits_adopt(uid);
	/* Where there is a range but no memory for an entry, again and soon. */
	if (!limit && mm_limits_in_range(uid))
		p->mm_limits_due = true;
	else if (!limit)
		p->mm_limits_news = news;
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
 * mm_limits_spread_news - have all tasks look again whether their user has a limit
 *
 * Context: any; somebody has just got one, or a range has.
 */
void mm_limits_spread_news(void)
{
	/* First what is new, then that something is. */
	smp_wmb();
	atomic_long_inc(&mm_limits_news);
}

/**
 * mm_limits_has_none - whether it is known that the current task has no limit
 *
 * Context: process context, with an mm.
 */
bool mm_limits_has_none(void)
{
	return !READ_ONCE(current->mm->mm_limit) &&
	       current->mm_limits_news == atomic_long_read(&mm_limits_news);
}

static void mm_limits_is_born(struct mm_struct *mm)
{
	unsigned long flags;

	if (list_empty(&mm->mm_limits_unborn))
		return;
	spin_lock_irqsave(&mm_limits_unborn_lock, flags);
	list_del_init(&mm->mm_limits_unborn);
	spin_unlock_irqrestore(&mm_limits_unborn_lock, flags);
	put_task_struct(mm->mm_limits_maker);
}

/**
 * mm_limits_show_unborn - show a scan each mm that no process has yet
 * @show:	called with a spinlock held, for those that are still in use
 * @data:	for @show
 *
 * To be called before the processes are walked. Who is born in between is in
 * their list then, and whoever comes in between is charged for what it takes.
 *
 * Context: under rcu_read_lock().
 */
void mm_limits_show_unborn(void (*show)(struct mm_struct *mm, void *data), void *data)
{
	struct mm_struct *mm;
	unsigned long flags;

	spin_lock_irqsave(&mm_limits_unborn_lock, flags);
	list_for_each_entry(mm, &mm_limits_unborn, mm_limits_unborn)
		/* Not where it has failed. */
		if (atomic_read(&mm->mm_users))
			show(mm, data);
	spin_unlock_irqrestore(&mm_limits_unborn_lock, flags);
}

/**
 * __mm_limits_inherit - have a new mm count for whom the current one counts
 * @mm:		the new one
 * @fork:	whether it is a child's, or else of the same process behind an exec
 *
 * A child whose pages one page table could name waits for __mm_limits_fork():
 * of a larger one as much can be there before anybody gets to look. Only where
 * there is nobody else to make the parent larger meanwhile.
 *
 * Context: process context.
 */
void __mm_limits_inherit(struct mm_struct *mm, bool fork)
{
	unsigned long flags;

	if (!current->mm || !READ_ONCE(current->mm->mm_limit) ||
	    (fork && atomic_read(&current->mm->mm_users) == 1 &&
	     get_mm_rss(current->mm) + MM_LIMITS_HELD_BACK <= PTRS_PER_PTE))
		return;
	mm->mm_limit = mm_limits_of(current->mm);
	if (!mm->mm_limit || !fork)
		return;
	/* Where the fork fails, the mm can outlive it. */
	get_task_struct(current);
	mm->mm_limits_maker = current;
	spin_lock_irqsave(&mm_limits_unborn_lock, flags);
	list_add_tail(&mm->mm_limits_unborn, &mm_limits_unborn);
	spin_unlock_irqrestore(&mm_limits_unborn_lock, flags);
}

/**
 * __mm_limits_mm_exit - the slow part of mm_limits_mm_exit()
 * @mm:	without a user
 *
 * What it frees matters where a scan may have counted it, and to a user that is
 * above its limit; otherwise it counts for nobody any more.
 *
 * Context: any.
 */
void __mm_limits_mm_exit(struct mm_struct *mm)
{
	struct mm_limit *limit = mm->mm_limit;

	if (READ_ONCE(limit->watched))
		return;
	WRITE_ONCE(mm->mm_limit, NULL);
	mm_limits_put(limit);
}

/**
 * __mm_limits_mm_free - let go of what an mm counted for
 * @mm:	not in use any more
 *
 * Context: any.
 */
void __mm_limits_mm_free(struct mm_struct *mm)
{
	mm_limits_is_born(mm);
	if (mm->mm_limit)
		mm_limits_put(mm->mm_limit);
	mm->mm_limit = NULL;
}

/* Charges @pages to whom @mm counts for, and says whether it does for anybody. */
static bool mm_limits_charge_mm(struct mm_struct *mm, long pages)
{
	struct mm_limit *limit;
	bool counts;

	rcu_read_lock();
	limit = READ_ONCE(mm->mm_limit);
	counts = limit && READ_ONCE(limit->max) != ULONG_MAX;
	if (counts)
		mm_limits_charge(limit, pages);
	rcu_read_unlock();
	return counts;
}

/*
 * Has a child's mm count for whom its parent's does, unless it counts for somebody
 * already, with @pages beside what it has; says whether it now does.
 */
static bool mm_limits_follow(struct mm_struct *mm, long pages)
{
	struct mm_limit *limit = current->mm ? mm_limits_of(current->mm) : NULL;
	bool follows;

	if (!limit)
		return false;
	rcu_read_lock();
	/* The reference is the mm's then, which may let go of it at any time. */
	follows = READ_ONCE(limit->max) != ULONG_MAX && !cmpxchg(&mm->mm_limit, NULL, limit);
	if (follows)
		mm_limits_charge(limit, get_mm_rss(mm) + pages);
	rcu_read_unlock();
	if (!follows)
		mm_limits_put(limit);
	return follows;
}

/**
 * __mm_limits_fork - the slow part of mm_limits_fork()
 * @p:	in the list of tasks, and has not run yet
 *
 * A limit that is set meanwhile is either found here or finds the task in the
 * list. A new thread can hold pages back, for which there is no room yet.
 *
 * Context: may sleep.
 */
void __mm_limits_fork(struct task_struct *p)
{
	/* Its parent's, who may be another user by its leader. */
	p->mm_limits_news = 0;
	if (!p->mm || (p->flags & PF_KTHREAD))
		return;
	/* Pairs with the table's lock, under which the limit is set before the scan. */
	smp_mb();
	mm_limits_is_born(p->mm);
	if (!READ_ONCE(p->mm->mm_limit) && mm_limits_follow(p->mm, MM_LIMITS_HELD_BACK))
		return;
	if (mm_limits_charge_mm(p->mm, MM_LIMITS_HELD_BACK))
		return;
	mm_limits_attach_to_user(p, p->mm);
	mm_limits_charge_mm(p->mm, MM_LIMITS_HELD_BACK);
}

/**
 * __mm_limits_cred - the slow part of mm_limits_cred()
 * @old:	the user before
 * @new:	the user now
 *
 * All the memory is the new user's at once, also if it never takes a page more,
 * and so is what its threads can hold back, as behind a fork.
 *
 * Context: process context.
 */
void __mm_limits_cred(kuid_t old, kuid_t new)
{
	/* Also where an exec makes this the leader. */
	current->mm_limits_news = 0;
	if (!current->mm)
		return;
	/* Where an exec's arguments were, while they moved from mm to mm, no scan knows. */
	if (!current->mm->mm_limits_scan)
		mm_limits_charge_mm(current->mm, get_mm_rss(current->mm));
	if (uid_eq(old, new))
		return;
	/* By which its other threads know. */
	mm_limits_spread_news();
	/* As in __mm_limits_fork(): either finds the other. */
	smp_mb();
	mm_limits_attach_to_user(current, current->mm);
	mm_limits_charge_mm(current->mm, MM_LIMITS_HELD_BACK * get_nr_threads(current));
}
