// SPDX-License-Identifier: GPL-2.0-only
/*
 * What counts for whom, as it changes.
 *
 * An mm counts for the limit of its owner: the user, by the real uid of the group
 * leader, of the first task in mm->mm_limits_tasks. Tasks come into that list when
 * they begin to use the mm and leave it when they stop, the threads of a process
 * side by side, so that the first process is the oldest. Who owns an mm changes only
 * there, in setuid(), and where limits change: mm_limits_settle() is called.
 *
 * Whatever changes a counter of the mm changes the sum of its limit, under the lock
 * of the mm. So limit->usage and limit->dying are exact at any time, but for what
 * threads hold back from the counters (mm_limits_hold_back()).
 */
#include <linux/cred.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/signal.h>
#include <linux/spinlock.h>
#include <linux/user_namespace.h>

#include "internal.h"

static const int mm_limits_members[] = MM_LIMITS_RSS_MEMBERS;

/**
 * mm_limits_counted - the resident pages of an mm, as far as its counters know
 * @mm:	the mm
 *
 * Below 0 where a thread holds back what another one has taken away already.
 */
long mm_limits_counted(struct mm_struct *mm)
{
	unsigned int i;
	long pages = 0;

	for (i = 0; i < ARRAY_SIZE(mm_limits_members); i++)
		pages += mm_limits_stat(mm, mm_limits_members[i]);
	return pages;
}

/**
 * mm_limits_held_back - the resident pages that a thread has not told its mm of
 * @t:	the thread
 */
long mm_limits_held_back(struct task_struct *t)
{
	unsigned int i;
	long pages = 0;

	for (i = 0; i < ARRAY_SIZE(mm_limits_members); i++)
		pages += mm_limits_kept(t, mm_limits_members[i]);
	return pages;
}

static atomic_long_t *mm_limits_sum_of(struct mm_limit *limit, const struct mm_struct *mm)
{
	return mm_limits_is_credited(mm) ? &limit->dying : &limit->usage;
}

/**
 * mm_limits_sum - what counters know of a user's memory, also of what is dying
 * @limit:	the user's
 */
long mm_limits_sum(struct mm_limit *limit)
{
	return atomic_long_read(&limit->usage) + atomic_long_read(&limit->dying);
}

/* Far from the limit, what may not be known of tasks and their mms counts. */
static bool mm_limits_has_grown(struct mm_limit *limit)
{
	long level = mm_limits_sum(limit);

	if (!READ_ONCE(limit->near))
		level += MM_LIMITS_RESERVE * READ_ONCE(limit->tasks);
	return level > READ_ONCE(limit->mark);
}

static bool mm_limits_has_shrunk(struct mm_limit *limit)
{
	return mm_limits_sum(limit) <= READ_ONCE(limit->low);
}

/**
 * mm_limits_is_due - whether a user has to be looked at
 * @limit:	the user's
 *
 * Context: any.
 */
bool mm_limits_is_due(struct mm_limit *limit)
{
	return mm_limits_has_grown(limit) || mm_limits_has_shrunk(limit);
}

/**
 * mm_limits_hold - have a task come by before it goes on
 * @p:	the task
 *
 * At its next fault, and before it returns to user space. Context: any.
 */
void mm_limits_hold(struct task_struct *p)
{
	p->mm_limits_due = true;
	mm_limits_fold_soon(p);
	set_tsk_thread_flag(p, TIF_NOTIFY_RESUME);
}

/**
 * mm_limits_hold_all - the same for all that use an mm
 * @mm:	the mm
 *
 * Context: its lock is held.
 */
void mm_limits_hold_all(struct mm_struct *mm)
{
	struct task_struct *t;

	list_for_each_entry(t, &mm->mm_limits_tasks, mm_limits_node)
		mm_limits_hold(t);
}

/*
 * Has somebody look: this task, if what it uses counts for the limit, and a worker,
 * because it may get to neither a fault nor user space. May be under the lock of a
 * page table.
 */
static void mm_limits_notice(struct mm_limit *limit)
{
	if (!READ_ONCE(mm_limits_on_alloc))
		return;
	if (current->mm && READ_ONCE(current->mm->mm_limit) == limit)
		mm_limits_hold(current);
	mm_limits_queue_look(limit);
}

static void mm_limits_grew(struct mm_limit *limit)
{
	if (mm_limits_has_grown(limit))
		mm_limits_notice(limit);
}

/**
 * mm_limits_charge - have the sum of a limit follow the counters of an mm
 * @mm:	the mm, whose lock is held and which counts for somebody
 *
 * What has changed without the lock, when the mm began to count, follows too.
 *
 * Return: how many pages there are more.
 */
long mm_limits_charge(struct mm_struct *mm)
{
	long pages = mm_limits_counted(mm) - mm->mm_limits_charged;

	if (pages) {
		mm->mm_limits_charged += pages;
		atomic_long_add(pages, mm_limits_sum_of(mm->mm_limit, mm));
	}
	return pages;
}

/*
 * The same, and has somebody look where that is due. Far from the limit only for more
 * than @slack pages: a fork with its exit changes nothing that others use.
 */
static void mm_limits_sync(struct mm_struct *mm, long slack)
{
	long pages = mm_limits_counted(mm) - mm->mm_limits_charged;

	if (pages <= slack && pages >= -slack && !READ_ONCE(mm->mm_limit->near))
		return;
	pages = mm_limits_charge(mm);
	if (pages > 0)
		mm_limits_grew(mm->mm_limit);
	else if (mm_limits_has_shrunk(mm->mm_limit))
		mm_limits_notice(mm->mm_limit);
}

/* With the lock of @mm held. Inline, as in the stock kernel: each process that ends folds. */
static __always_inline void mm_limits_add(struct mm_struct *mm, int member, long pages)
{
	long count = atomic_long_add_return(pages, &mm->rss_stat.count[member]);

	mm_limits_trace_rss(mm, member, count);
}

#ifdef SPLIT_RSS_COUNTING
/**
 * __mm_limits_fold - add what the current thread holds back to such an mm
 * @mm:	the thread's
 *
 * How many faults it has counted stays: it may have been told to come by.
 *
 * Context: process context.
 */
void __mm_limits_fold(struct mm_struct *mm)
{
	int i, any = 0;

	/* Who ends comes here twice. */
	for (i = 0; i < NR_MM_COUNTERS; i++)
		any |= current->rss_stat.count[i];
	if (!any)
		return;
	/* Under the lock: not for a moment in both, or in none. A look adds them up. */
	spin_lock(&mm->mm_limits_lock);
	for (i = 0; i < NR_MM_COUNTERS; i++) {
		if (current->rss_stat.count[i]) {
			mm_limits_add(mm, i, current->rss_stat.count[i]);
			current->rss_stat.count[i] = 0;
		}
	}
	/* Who ends holds nothing back from now on. What it did is in what is reserved for it. */
	if (current->flags & PF_EXITING)
		mm_limits_count_fast(current, NULL);
	if (mm->mm_limit && (!(current->flags & PF_EXITING) || READ_ONCE(mm->mm_limit->near)))
		mm_limits_sync(mm, MM_LIMITS_SLACK);
	spin_unlock(&mm->mm_limits_lock);
}
#endif

/*
 * Whether @p, which uses @mm, may hold back what it counts. Far from a limit that saves
 * instructions in each fault. Near one every page counts at once. With the lock held.
 */
static void mm_limits_let_hold_back(struct task_struct *p, struct mm_struct *mm)
{
	bool near = mm->mm_limit && READ_ONCE(mm->mm_limit->near);

	mm_limits_count_fast(p, near || p->flags & PF_EXITING ? NULL : mm);
	if (near)
		mm_limits_fold_soon(p);
}

/**
 * mm_limits_let_all_hold_back - whether threads may hold back what they count
 * @mm:	the mm that they use, whose lock is held
 */
void mm_limits_let_all_hold_back(struct mm_struct *mm)
{
	struct task_struct *t;

	list_for_each_entry(t, &mm->mm_limits_tasks, mm_limits_node)
		mm_limits_let_hold_back(t, mm);
}

/**
 * mm_limits_hold_back - whether the current task may hold back what it counts
 *
 * Context: process context, with an mm.
 */
void mm_limits_hold_back(void)
{
	spin_lock(&current->mm->mm_limits_lock);
	mm_limits_let_hold_back(current, current->mm);
	spin_unlock(&current->mm->mm_limits_lock);
}

/* What is reserved for: its tasks, or the one that is to come or has gone. */
static long mm_limits_seats(const struct mm_struct *mm)
{
	return max(mm->mm_limits_count, 1UL);
}

/* With the lock of @mm held, which counts for somebody, or the mm known to nobody else. */
static void mm_limits_take_off(struct mm_struct *mm)
{
	struct mm_limit *limit = mm->mm_limit;
	unsigned long flags;

	spin_lock_irqsave(&limit->mms_lock, flags);
	__list_del_entry(&mm->mm_limits_node);
	limit->tasks -= mm_limits_seats(mm);
	WRITE_ONCE(mm->mm_limit, NULL);
	spin_unlock_irqrestore(&limit->mms_lock, flags);
	if (mm->mm_limits_charged) {
		atomic_long_sub(mm->mm_limits_charged, mm_limits_sum_of(limit, mm));
		mm->mm_limits_charged = 0;
		if (mm_limits_has_shrunk(limit))
			mm_limits_notice(limit);
	}
	mm_limits_put(limit);
}

/* Whether the last task has left @mm, into which others still write. */
static bool mm_limits_is_left(const struct mm_struct *mm)
{
	return !mm->mm_limits_count && mm->mm_limits_dying && atomic_read(&mm->mm_users);
}

/* With the lock of @mm held. */
static void mm_limits_detach(struct mm_struct *mm)
{
	if (!mm->mm_limit)
		return;
	mm->mm_limits_uid = __kuid_val(mm->mm_limit->uid);
	mm_limits_take_off(mm);
	WRITE_ONCE(mm->mm_limits_tells, mm_limits_is_left(mm));
	mm_limits_let_all_hold_back(mm);
}

/*
 * With the lock of @mm held, which counts for nobody. Returns whether it now does:
 * not for an entry that has been removed meanwhile.
 */
static bool mm_limits_attach(struct mm_struct *mm, struct mm_limit *limit)
{
	unsigned long flags;
	bool gone;

	spin_lock_irqsave(&limit->mms_lock, flags);
	gone = limit->gone;
	if (!gone) {
		atomic_inc(&limit->refs);
		list_add_tail(&mm->mm_limits_node, &limit->mms);
		limit->tasks += mm_limits_seats(mm);
		limit->came += mm->mm_limits_count > 0;
		WRITE_ONCE(mm->mm_limit, limit);
	}
	spin_unlock_irqrestore(&limit->mms_lock, flags);
	if (gone)
		return false;
	/* As in mm_limits_change_tasks(). */
	smp_mb();
	/* What these tasks hold back nobody knows near the limit. */
	mm_limits_let_all_hold_back(mm);
	if (mm->mm_limits_count && READ_ONCE(limit->near))
		WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
	WRITE_ONCE(mm->mm_limits_tells, true);
	mm_limits_sync(mm, 0);
	/* So much at once, and perhaps never a page more. */
	smp_mb();
	mm_limits_grew(limit);
	return true;
}

/**
 * mm_limits_payer - for which user's limit the memory of a task counts
 * @p:	the task: the leader of its thread group
 *
 * In a user namespace a user can have the uids of many: there the maker of the
 * outermost one pays. What root makes is no user's; what is root's does not count.
 *
 * Context: under rcu_read_lock().
 * Return: the user.
 */
kuid_t mm_limits_payer(struct task_struct *p)
{
	const struct cred *cred = __task_cred(p);
	kuid_t payer = cred->uid;
	struct user_namespace *ns;

	if (uid_eq(payer, GLOBAL_ROOT_UID))
		return payer;
	for (ns = mm_limits_user_ns(cred); ns != &init_user_ns; ns = mm_limits_outer_ns(ns))
		if (!uid_eq(mm_limits_maker_of(ns), GLOBAL_ROOT_UID))
			payer = mm_limits_maker_of(ns);
	return payer;
}

/* Has @mm, whose lock is held, count for the user @uid. */
static void mm_limits_count_for(struct mm_struct *mm, kuid_t uid)
{
	struct mm_limit *limit;
	bool done = false;

	if (mm->mm_limit && uid_eq(mm->mm_limit->uid, uid) && !READ_ONCE(mm->mm_limit->gone))
		return;
	mm_limits_detach(mm);
	while (!done) {
		limit = mm_limits_get(uid);
		done = !limit || mm_limits_attach(mm, limit);
		if (limit)
			mm_limits_put(limit);
	}
}

/* The same for whom it counted before, or whose its last task was. */
static void mm_limits_count_again(struct mm_struct *mm)
{
	mm_limits_count_for(mm, make_kuid(&init_user_ns, mm->mm_limits_uid));
}

/*
 * Whether @mm, whose lock is held, counts for somebody. What is left while it counts for
 * nobody may do so later: its user has got a limit since then, or another one.
 */
static bool mm_limits_counts(struct mm_struct *mm)
{
	if (!mm->mm_limit && mm_limits_is_left(mm)) {
		rcu_read_lock();
		mm_limits_count_again(mm);
		rcu_read_unlock();
	}
	return mm->mm_limit;
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
	spin_lock(&mm->mm_limits_lock);
	mm_limits_add(mm, member, pages);
	if (mm_limits_counts(mm))
		mm_limits_sync(mm, MM_LIMITS_SLACK);
	spin_unlock(&mm->mm_limits_lock);
}

/**
 * __mm_limits_rss_vec - change all counters of such an mm
 * @mm:		the mm
 * @rss:	by how much each
 *
 * Context: as __mm_limits_rss().
 */
void __mm_limits_rss_vec(struct mm_struct *mm, const int *rss)
{
	int i;

	spin_lock(&mm->mm_limits_lock);
	for (i = 0; i < NR_MM_COUNTERS; i++)
		if (rss[i])
			mm_limits_add(mm, i, rss[i]);
	if (mm_limits_counts(mm))
		mm_limits_sync(mm, MM_LIMITS_SLACK);
	spin_unlock(&mm->mm_limits_lock);
}

/*
 * Whether a fork of the current task copies no more than is reserved for an mm without a
 * task. Far from the limit that need not be told until the child is there.
 */
static bool mm_limits_copies_little(void)
{
	return current->mm->mm_limits_count == 1 &&
	       mm_limits_counted(current->mm) + mm_limits_held_back(current) <= MM_LIMITS_RESERVE;
}

/*
 * Has the copy that a fork makes for @p count for the limit of its parent, as a rule.
 * Nobody knows the copy yet. Returns false where another limit has to be found. Under RCU.
 */
static bool mm_limits_count_child(struct mm_struct *mm, struct task_struct *p)
{
	struct mm_limit *limit = current->mm ? READ_ONCE(current->mm->mm_limit) : NULL;
	bool gone;

	if (!limit || !uid_eq(limit->uid, mm_limits_payer(p)))
		return false;
	mm->mm_limits_tells = !mm_limits_copies_little();
	spin_lock_irq(&limit->mms_lock);
	gone = limit->gone;
	if (!gone) {
		atomic_inc(&limit->refs);
		list_add_tail(&mm->mm_limits_node, &limit->mms);
		limit->tasks++;
		mm->mm_limit = limit;
	}
	spin_unlock_irq(&limit->mms_lock);
	if (gone) {
		mm->mm_limits_tells = false;
		return false;
	}
	/* As in mm_limits_change_tasks(). A look that has found the mm since does the same. */
	smp_mb();
	if (READ_ONCE(limit->near))
		WRITE_ONCE(mm->mm_limits_tells, true);
	mm_limits_grew(limit);
	return true;
}

/* Whether a new mm counts for whom it should, if it did before it could be found. */
static bool mm_limits_is_settled(const struct mm_struct *mm)
{
	return mm->mm_limits_changes == mm_limits_count_changes() &&
	       (mm->mm_limit || !READ_ONCE(mm_limits_range_count));
}

static struct task_struct *mm_limits_first(struct mm_struct *mm)
{
	return list_empty(&mm->mm_limits_tasks) ? NULL :
	       list_first_entry(&mm->mm_limits_tasks, struct task_struct, mm_limits_node);
}

/**
 * mm_limits_settle - have an mm count for its owner
 * @mm:		the mm
 *
 * Without a task it counts for whom it counted before, while that is one, and then as
 * mm_limits_counts() says. So does an mm all of whose users have been killed: a sharer of
 * another user may end later, and its user would pay for what is on its way out.
 *
 * Context: any but an interrupt.
 * Return: the uid of a user whose range gives it a limit that it does not have yet,
 * which mm_limits_adopt() changes; or root's.
 */
kuid_t mm_limits_settle(struct mm_struct *mm)
{
	kuid_t wants = GLOBAL_ROOT_UID;
	struct task_struct *first;
	kuid_t uid;

	rcu_read_lock();
	spin_lock(&mm->mm_limits_lock);
	first = mm->mm_limits_doomed ? NULL : mm_limits_first(mm);
	if (first) {
		uid = mm_limits_payer(first->group_leader);
		mm_limits_count_for(mm, uid);
		if (!mm->mm_limit && mm_limits_in_range(uid))
			wants = uid;
	} else {
		if (mm->mm_limit && READ_ONCE(mm->mm_limit->gone))
			mm_limits_detach(mm);
		if (mm->mm_limits_doomed && !mm->mm_limit) {
			mm_limits_count_again(mm);
			uid = make_kuid(&init_user_ns, mm->mm_limits_uid);
			if (!mm->mm_limit && mm_limits_in_range(uid))
				wants = uid;
		}
	}
	spin_unlock(&mm->mm_limits_lock);
	rcu_read_unlock();
	return wants;
}

/**
 * mm_limits_settle_for_good - the same, with an entry from a range
 * @mm:	the mm: where there is no memory for an entry, whoever uses it tries again before it
 *	goes on
 *
 * Context: process context, may sleep.
 */
void mm_limits_settle_for_good(struct mm_struct *mm)
{
	kuid_t uid = mm_limits_settle(mm);

	/* Another user's adoption may remove an entry that nothing counts for yet. */
	while (!uid_eq(uid, GLOBAL_ROOT_UID)) {
		if (!mm_limits_adopt(uid)) {
			spin_lock(&mm->mm_limits_lock);
			mm_limits_hold_all(mm);
			spin_unlock(&mm->mm_limits_lock);
			break;
		}
		uid = mm_limits_settle(mm);
	}
}

/**
 * mm_limits_of - the limit that an mm counts for
 * @mm:	the mm
 *
 * Context: any but an interrupt.
 * Return: it, with a reference, or NULL.
 */
struct mm_limit *mm_limits_of(struct mm_struct *mm)
{
	struct mm_limit *limit;

	if (!READ_ONCE(mm->mm_limit))
		return NULL;
	spin_lock(&mm->mm_limits_lock);
	limit = mm->mm_limit;
	if (limit)
		atomic_inc(&limit->refs);
	spin_unlock(&mm->mm_limits_lock);
	return limit;
}

/**
 * mm_limits_credit - take an mm for free, or not any longer
 * @mm:		the mm
 * @dying:	since when it has been dying, as in mm_limits_judge_dying()
 *
 * Context: its lock is held.
 */
void mm_limits_credit(struct mm_struct *mm, unsigned long dying)
{
	struct mm_limit *limit = mm->mm_limit;

	if (!limit || !mm->mm_limits_charged) {
		mm->mm_limits_dying = dying;
		return;
	}
	atomic_long_sub(mm->mm_limits_charged, mm_limits_sum_of(limit, mm));
	mm->mm_limits_dying = dying;
	atomic_long_add(mm->mm_limits_charged, mm_limits_sum_of(limit, mm));
}

/* @mm, whose lock is held and which has a task, gets one more, or has one less. */
static void mm_limits_change_tasks(struct mm_struct *mm, long tasks)
{
	struct mm_limit *limit = mm->mm_limit;

	spin_lock_irq(&limit->mms_lock);
	limit->tasks += tasks;
	spin_unlock_irq(&limit->mms_lock);
	/* Pairs with mm_limits_remember(): it knows of them, or they see its mark. */
	smp_mb();
}

/**
 * mm_limits_join - a task begins to use an mm
 * @p:	the task, which can be found by others; a child has not run yet
 * @mm:	the mm
 *
 * Context: process context, may sleep.
 */
void mm_limits_join(struct task_struct *p, struct mm_struct *mm)
{
	bool first, late = false;

	spin_lock(&mm->mm_limits_lock);
	first = !mm->mm_limits_count++;
	if (!first && p != current && same_thread_group(p, current))
		list_add(&p->mm_limits_node, &current->mm_limits_node);
	else
		list_add_tail(&p->mm_limits_node, &mm->mm_limits_tasks);
	if (mm->mm_limit) {
		if (!first) {
			mm_limits_change_tasks(mm, 1);
			mm_limits_grew(mm->mm_limit);
		}
		mm_limits_sync(mm, MM_LIMITS_SLACK);
		if (READ_ONCE(mm->mm_limit->crowded))
			mm_limits_hold(p);
	} else {
		WRITE_ONCE(mm->mm_limits_tells, false);
	}
	mm_limits_let_hold_back(p, mm);
	if (mm->mm_limits_dying) {
		/* Made by one who did not know yet that it was killed. */
		late = mm->mm_limits_doomed;
		/* Or that it ends: this one lives. */
		if (!late)
			mm_limits_credit(mm, 0);
	}
	spin_unlock(&mm->mm_limits_lock);
	/* Pairs with mm_limits_settle_all(): it finds @p, or this finds the limits. */
	smp_mb();
	if (late)
		mm_limits_send_sigkill(p);
	if (mm_limits_key_enabled(&mm_limits_key) && first && !mm_limits_is_settled(mm))
		mm_limits_settle_for_good(mm);
}

/**
 * mm_limits_leave - the current task does not use an mm any more
 * @mm:	the mm
 *
 * What nobody uses any more is as good as free.
 *
 * Context: process context, may sleep.
 */
void mm_limits_leave(struct mm_struct *mm)
{
	bool owned = false;
	bool last;

	spin_lock(&mm->mm_limits_lock);
	last = !--mm->mm_limits_count;
	if (!last)
		owned = mm_limits_first(mm) == current;
	__list_del_entry(&current->mm_limits_node);
	mm_limits_count_fast(current, NULL);
	/* As mm_limits_credit(), in fewer instructions: for each process that ends. */
	if (last && !mm->mm_limits_dying) {
		if (mm->mm_limits_charged) {
			atomic_long_sub(mm->mm_limits_charged, &mm->mm_limit->usage);
			atomic_long_add(mm->mm_limits_charged, &mm->mm_limit->dying);
		}
		mm->mm_limits_dying = jiffies | MM_LIMITS_STAMPED;
	}
	if (last) {
		/* Of what others still write into it, also if that counts for nobody yet. */
		WRITE_ONCE(mm->mm_limits_tells, true);
		if (!mm->mm_limit && !mm->mm_limits_doomed) {
			rcu_read_lock();
			mm->mm_limits_uid = __kuid_val(mm_limits_payer(current->group_leader));
			rcu_read_unlock();
		}
	} else {
		/* What it kept, or was busy with, may be had now. */
		mm->mm_limits_kept = 0;
		if (mm->mm_limit) {
			mm_limits_change_tasks(mm, -1);
			mm_limits_sync(mm, MM_LIMITS_SLACK);
		}
	}
	spin_unlock(&mm->mm_limits_lock);
	if (owned && mm_limits_key_enabled(&mm_limits_key))
		mm_limits_settle_for_good(mm);
}

/**
 * __mm_limits_mm_exec - the current task is about to use the mm of an exec
 * @mm:	nobody's, and with all that is known of its program's arguments
 *
 * The thread that executes the program is the leader of its group by now, so it is known
 * who pays. From its making on until now the arguments counted in the old mm.
 *
 * Context: process context.
 */
void __mm_limits_mm_exec(struct mm_struct *mm)
{
	mm->mm_limits_changes = mm_limits_count_changes();
	rcu_read_lock();
	spin_lock(&mm->mm_limits_lock);
	mm_limits_count_for(mm, mm_limits_payer(current));
	spin_unlock(&mm->mm_limits_lock);
	rcu_read_unlock();
}

/**
 * __mm_limits_mm_unused - an mm can only shrink from now on
 * @mm:	nobody's, and nobody can read or write it any more
 *
 * Far from the limit it may be thought to be there until it is gone.
 *
 * Context: process context.
 */
void __mm_limits_mm_unused(struct mm_struct *mm)
{
	struct mm_limit *limit;

	rcu_read_lock();
	limit = READ_ONCE(mm->mm_limit);
	if (!limit) {
		WRITE_ONCE(mm->mm_limits_tells, false);
	} else if (!READ_ONCE(limit->near)) {
		WRITE_ONCE(mm->mm_limits_tells, false);
		/* Without a lock, for each end. Pairs with mm_limits_remember() and _go_near(). */
		smp_mb();
		if (READ_ONCE(limit->near))
			WRITE_ONCE(mm->mm_limits_tells, true);
	}
	rcu_read_unlock();
}

/**
 * mm_limits_mm_init - an mm is new
 * @mm:	not in use yet, perhaps a copy of its parent's
 * @p:	the child that it is for, which has its credentials, or current in an exec
 *
 * What a fork copies counts though no task uses it before it is done. For what an exec
 * puts into the mm see __mm_limits_mm_exec().
 *
 * Context: process context.
 */
void mm_limits_mm_init(struct mm_struct *mm, struct task_struct *p)
{
	spin_lock_init(&mm->mm_limits_lock);
	INIT_LIST_HEAD(&mm->mm_limits_tasks);
	mm->mm_limits_count = 0;
	mm->mm_limits_charged = 0;
	mm->mm_limits_dying = 0;
	mm->mm_limits_doomed = false;
	mm->mm_limits_tells = false;
	mm->mm_limit = NULL;
	mm->mm_limits_reaped = 0;
	mm->mm_limits_kept = 0;
	if (!mm_limits_key_enabled(&mm_limits_key) || p == current) {
		mm->mm_limits_changes = MM_LIMITS_NEVER;
		return;
	}
	mm->mm_limits_changes = mm_limits_count_changes();
	rcu_read_lock();
	if (!mm_limits_count_child(mm, p)) {
		spin_lock(&mm->mm_limits_lock);
		mm_limits_count_for(mm, mm_limits_payer(p));
		spin_unlock(&mm->mm_limits_lock);
	}
	rcu_read_unlock();
}

/**
 * __mm_limits_mm_free - let go of what an mm counted for
 * @mm:	not in use any more
 *
 * Context: any.
 */
void __mm_limits_mm_free(struct mm_struct *mm)
{
	mm_limits_take_off(mm);
}

/**
 * __mm_limits_cred - the slow part of mm_limits_cred()
 * @old:	the credentials before
 * @new:	the credentials now
 *
 * All the memory is the new user's at once, also if it never takes a page more.
 *
 * Context: process context, may sleep.
 */
void __mm_limits_cred(const struct cred *old, const struct cred *new)
{
	bool same = uid_eq(old->uid, new->uid) && mm_limits_user_ns(old) == mm_limits_user_ns(new);

	if (!same && current->mm && !(current->flags & PF_KTHREAD))
		mm_limits_settle_for_good(current->mm);
}
