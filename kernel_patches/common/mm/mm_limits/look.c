// SPDX-License-Identifier: GPL-2.0-only
/*
 * A look at a user: what it has to the page, and whom a policy would have die for it.
 *
 * The mms that count for a limit are in its list. A look walks them, and the tasks of
 * each; how many processes others have makes no difference. It holds the limit's mutex
 * and short locks: nobody else's faults wait for it.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/swap.h>

#include "internal.h"

#include <trace/events/mm_limits.h>

/* How long a dying process is taken for memory that is as good as free. */
#define MM_LIMITS_PATIENCE_MS	5000

/* How often a sum is worked out anew of which something has gone meanwhile. */
#define MM_LIMITS_TRIES		4

struct mm_limits_walk {
	struct mm_limit *limit;
	const struct mm_limits_choice *choice;
	struct mm_limits_victim *victim;
	/* What has been found. */
	struct mm_limits_tally tally;
	long held_back;
	unsigned long number;
	/* Whether every page counted at once, at the beginning, and what had come by then. */
	bool near;
	unsigned int came;
	/* Whether a victim's memory has not all been given back, and may yet be. */
	bool unfinished;
};

/* An mm, as it was under its lock. */
struct mm_limits_view {
	/* The leader of its first process, with a reference, or NULL. */
	struct task_struct *owner;
	struct mm_limits_usage usage;
	enum mm_limits_credit credit;
	unsigned long tasks;
	bool eligible;
	bool doomed;
};

/**
 * mm_limits_protected - whether a process must never be a victim
 * @p:	a thread of it
 *
 * Context: under rcu_read_lock().
 */
bool mm_limits_protected(struct task_struct *p)
{
	return is_global_init(p->group_leader) || p->signal->oom_score_adj == OOM_SCORE_ADJ_MIN;
}

/* @t is a thread that uses @mm. */
static bool mm_limits_is_dying(struct task_struct *t, struct mm_struct *mm)
{
	if (t->signal->flags & SIGNAL_GROUP_EXIT) {
		/*
		 * A core dump begins with the flag, is announced before it, and
		 * can take for ever: until it is over this is a candidate.
		 */
		smp_rmb();
		return !mm_limits_is_dumping(t, mm);
	}
	return thread_group_empty(t) && (t->flags & PF_EXITING);
}

/**
 * mm_limits_next_mm - walk the mms that count for a limit
 * @limit:	the limit
 * @mm:		from the last call, whose reference is dropped, or NULL for the first one
 * @moved:	set if @mm is not in the list any more: nobody knows what is behind it
 *
 * Context: process context.
 * Return: the mm behind @mm, with a reference, or NULL.
 */
struct mm_struct *mm_limits_next_mm(struct mm_limit *limit, struct mm_struct *mm, bool *moved)
{
	struct mm_struct *next, *found = NULL;
	unsigned long flags;

	spin_lock_irqsave(&limit->mms_lock, flags);
	*moved = mm && mm->mm_limit != limit;
	next = *moved ? NULL : list_prepare_entry(mm, &limit->mms, mm_limits_node);
	if (next) {
		list_for_each_entry_continue(next, &limit->mms, mm_limits_node) {
			/* Not one that is about to leave the list, on its way to be freed. */
			if (atomic_inc_not_zero(&next->mm_count)) {
				found = next;
				break;
			}
		}
	}
	spin_unlock_irqrestore(&limit->mms_lock, flags);
	if (mm)
		mmdrop(mm);
	return found;
}

/*
 * What its threads hold back from the counters of @mm, whose lock is held: they can be
 * very many together, and only the threads themselves can fold them in.
 */
static long mm_limits_held_back_from(struct mm_struct *mm)
{
	struct task_struct *t;
	long pages = 0;

	list_for_each_entry(t, &mm->mm_limits_tasks, mm_limits_node)
		pages += mm_limits_held_back(t);
	return pages;
}

/* Has @mm, whose lock is held, count as it has to near the limit, or far from it. */
static void mm_limits_tune(struct mm_struct *mm)
{
	if (!mm->mm_limit)
		return;
	if (READ_ONCE(mm->mm_limit->near))
		WRITE_ONCE(mm->mm_limits_tells, true);
	mm_limits_let_all_hold_back(mm);
	mm_limits_charge(mm);
}

/* Whether to go on as if @mm, whose lock is held, were free already. */
static enum mm_limits_credit mm_limits_credit_of(struct mm_struct *mm, bool live)
{
	unsigned long dying = mm->mm_limits_dying;
	enum mm_limits_credit credit;

	credit = mm_limits_judge_dying(&dying, live, jiffies,
				       msecs_to_jiffies(MM_LIMITS_PATIENCE_MS));
	if (dying != mm->mm_limits_dying)
		mm_limits_credit(mm, dying);
	return credit;
}

static void mm_limits_view(struct mm_limits_walk *walk, struct mm_struct *mm,
			   struct mm_limits_view *view)
{
	bool live = false, protected = false;
	long held_back, pages;
	struct task_struct *t;

	memset(view, 0, sizeof(*view));
	rcu_read_lock();
	spin_lock(&mm->mm_limits_lock);
	list_for_each_entry(t, &mm->mm_limits_tasks, mm_limits_node) {
		if (!view->owner)
			view->owner = t->group_leader;
		live |= !mm_limits_is_dying(t, mm);
		protected |= mm_limits_protected(t);
	}
	if (view->owner)
		get_task_struct(view->owner);
	/* A child that is still being made lives, too. */
	view->credit = mm_limits_credit_of(mm, live || !mm->mm_limits_count);
	view->doomed = mm->mm_limits_doomed;
	view->eligible = view->owner && mm_limits_eligible(protected, mm->mm_limits_dying);
	mm_limits_tune(mm);
	held_back = mm_limits_held_back_from(mm);
	walk->held_back += held_back;
	pages = mm_limits_counted(mm) + held_back;
	view->usage.rss = max(pages, 0L);
	view->tasks = mm->mm_limits_count;
	mm->mm_limits_kept = min(mm->mm_limits_kept, view->usage.rss);
	view->usage.swap = get_mm_counter(mm, MM_SWAPENTS);
	view->usage.pgtables = mm_limits_pgtables(mm);
	spin_unlock(&mm->mm_limits_lock);
	rcu_read_unlock();
}

/* To whoever follows events; out of the tracepoint, which must not be held up. */
static void mm_limits_tell_candidate(const struct mm_limits_walk *walk, struct task_struct *p,
				     const struct mm_limits_usage *usage, s64 score)
{
	const struct mm_limits_candidate candidate = {
		.scan	= walk->number,
		.uid	= from_kuid(&init_user_ns, walk->limit->uid),
		.pid	= task_tgid_nr(p),
		.score	= score,
		.usage	= usage,
		.adj	= p->signal->oom_score_adj,
		.admin	= has_capability_noaudit(p, CAP_SYS_ADMIN),
		.total	= mm_limits_totalram() + total_swap_pages,
		.policy	= walk->choice->name,
	};

	trace_mm_limits_candidate(&candidate);
}

/*
 * Keeps the better of @p, whose reference it takes, and the victim so far. Returns
 * false if the policy has gone.
 */
static bool mm_limits_weigh(struct mm_limits_walk *walk, struct task_struct *p,
			    struct mm_struct *mm, const struct mm_limits_usage *usage)
{
	struct mm_limits_victim *best = walk->victim;
	s64 score;

	rcu_read_lock();
	if (!mm_limits_policy_stays(walk->choice)) {
		rcu_read_unlock();
		put_task_struct(p);
		return false;
	}
	score = walk->choice->score(p, usage);
	rcu_read_unlock();
	if (mm_limits_tells_candidates())
		mm_limits_tell_candidate(walk, p, usage, score);
	if (!mm_limits_tally_weigh(&walk->tally, score, usage->rss, mm_limits_start_time(p))) {
		put_task_struct(p);
		return true;
	}
	mm_limits_forget_victim(best);
	mm_limits_grab_mm(mm);
	best->task = p;
	best->mm = mm;
	best->rss = usage->rss;
	best->score = score;
	return true;
}

/* What a doomed mm has now is not given back before one of its tasks, or it, ends. */
static void mm_limits_keep(struct mm_struct *mm, unsigned long tasks)
{
	long pages;

	spin_lock(&mm->mm_limits_lock);
	pages = mm_limits_counted(mm) + mm_limits_held_back_from(mm);
	/* One may have ended meanwhile. */
	mm->mm_limits_kept = mm->mm_limits_count == tasks ? max(pages, 0L) : 0;
	spin_unlock(&mm->mm_limits_lock);
}

static bool mm_limits_visit(struct mm_limits_walk *walk, struct mm_struct *mm)
{
	struct mm_limits_view view;

	mm_limits_view(walk, mm, &view);
	mm_limits_tally_add(&walk->tally, view.usage.rss, view.credit);
	if (view.credit == MM_LIMITS_TOO_LATE && view.owner)
		pr_warn("mm_limits: pid=%d has not exited within %u ms; going on without it\n",
			task_tgid_nr(view.owner), MM_LIMITS_PATIENCE_MS);
	/* Whoever was in the way when it was killed may have gone. */
	if (view.doomed && (view.usage.rss > mm->mm_limits_kept || mm->mm_limits_reaped)) {
		if (mm_limits_reap(mm))
			mm_limits_keep(mm, view.tasks);
		else
			walk->unfinished |= view.credit == MM_LIMITS_CREDITED;
	}
	if (view.eligible)
		return mm_limits_weigh(walk, view.owner, mm, &view.usage);
	if (view.owner)
		put_task_struct(view.owner);
	return true;
}

/*
 * A page that was freed in one mm and taken in another one during the walk may have been
 * counted in both. Counters know of it once, and near the limit of every page.
 */
static void mm_limits_count_once(struct mm_limits_walk *walk)
{
	long known = atomic_long_read(&walk->limit->usage) + walk->held_back;

	if (walk->near && READ_ONCE(walk->limit->near))
		walk->tally.usage = min(walk->tally.usage, (unsigned long)max(known, 0L));
}

/* Returns false if it has not come to its end. */
static bool mm_limits_walk(struct mm_limits_walk *walk)
{
	struct mm_struct *mm = NULL;
	bool moved = false;

	memset(&walk->tally, 0, sizeof(walk->tally));
	walk->held_back = 0;
	walk->unfinished = false;
	while ((mm = mm_limits_next_mm(walk->limit, mm, &moved))) {
		if (!mm_limits_visit(walk, mm)) {
			mmdrop(mm);
			return false;
		}
		cond_resched();
	}
	mm_limits_count_once(walk);
	return !moved;
}

/*
 * Says when to look again, and how the threads count until then. Returns whether they have
 * to be told that this has changed, and counted once more.
 */
static bool mm_limits_remember(const struct mm_limits_walk *walk, unsigned long max)
{
	struct mm_limit *limit = walk->limit;
	unsigned long sum = mm_limits_total(&walk->tally);
	struct mm_limits_mark mark;
	bool again, crowded;

	mark = mm_limits_mark(&walk->tally, max / PAGE_SIZE,
			      MM_LIMITS_RESERVE * READ_ONCE(limit->tasks),
			      walk->held_back, mm_limits_sum(limit));
	limit->tally = walk->tally;
	limit->peak = max(limit->peak, sum);
	if (mm_limits_is_over(sum, max))
		limit->overshoot = max(limit->overshoot, sum - max / PAGE_SIZE);
	crowded = mm_limits_is_over(sum, max) && !mm_limits_is_over(walk->tally.usage, max);
	WRITE_ONCE(limit->waits, crowded || walk->unfinished);
	/* Who may be above it, or loses nobody for it, does not have to wait for that, either. */
	WRITE_ONCE(limit->crowded, crowded && !limit->set.grace && !walk->choice->dry_run);
	WRITE_ONCE(limit->held_back, walk->held_back);
	/* Somebody may have told them meanwhile, in mm_limits_go_near(). */
	again = walk->near != mark.near || READ_ONCE(limit->near) != mark.near;
	WRITE_ONCE(limit->told_near, mark.near && !again);
	WRITE_ONCE(limit->near, mark.near);
	WRITE_ONCE(limit->low, mark.low);
	/* Until all have been told, nobody goes by a mark for which they hold nothing back. */
	WRITE_ONCE(limit->mark, mark.near && again ? MM_LIMITS_NEVER : mark.at);
	/*
	 * Pairs with mm_limits_combine(): what was found may be of a limit that is no more;
	 * with __mm_limits_mm_unused() and mm_limits_change_tasks().
	 */
	smp_mb();
	if (READ_ONCE(limit->max) != max || READ_ONCE(limit->came) != walk->came)
		WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
	/* What has grown meanwhile was compared with what the mark was before. */
	if (!again && mm_limits_is_due(limit))
		mm_limits_queue_look(limit);
	if (limit->waits)
		mm_limits_queue_poll(limit);
	return again;
}

/**
 * mm_limits_look - work out what a user has, and who has to die for it
 * @limit:	the user's
 * @choice:	how to choose
 * @victim:	the answer to MM_LIMITS_VICTIM, for mm_limits_forget_victim()
 *
 * Context: process context, may sleep; the limit's mutex held. Allocates nothing.
 * Return: MM_LIMITS_AGAIN if something has changed meanwhile, otherwise what was found.
 */
enum mm_limits_found mm_limits_look(struct mm_limit *limit, const struct mm_limits_choice *choice,
				    struct mm_limits_victim *victim)
{
	static atomic_long_t numbers = ATOMIC_LONG_INIT(0);
	struct mm_limits_walk walk = {
		.limit	= limit,
		.choice	= choice,
		.victim	= victim,
		.number	= atomic_long_inc_return(&numbers),
	};
	bool again = true;

	memset(victim, 0, sizeof(*victim));
	victim->max = READ_ONCE(limit->max);
	/* Removed meanwhile: nothing is to count for it, or to wait, any more. */
	if (victim->max == ULONG_MAX) {
		WRITE_ONCE(limit->crowded, false);
		return MM_LIMITS_WITHIN;
	}
	while (again) {
		mm_limits_forget_victim(victim);
		walk.near = READ_ONCE(limit->near);
		walk.came = READ_ONCE(limit->came);
		if (!mm_limits_walk(&walk)) {
			WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
			return MM_LIMITS_AGAIN;
		}
		again = mm_limits_remember(&walk, victim->max);
	}
	if (!mm_limits_is_over(walk.tally.usage, victim->max))
		return MM_LIMITS_WITHIN;
	return victim->task ? MM_LIMITS_VICTIM : MM_LIMITS_NOBODY;
}

/*
 * Adds up what a user has; also tells its threads how they have to count, with @tunes.
 * Returns whether none of its mms was left out.
 */
static bool mm_limits_add_up(struct mm_limit *limit, bool tunes, unsigned long *sum)
{
	struct mm_struct *mm = NULL;
	bool moved = false;
	long pages;

	*sum = 0;
	while ((mm = mm_limits_next_mm(limit, mm, &moved))) {
		spin_lock(&mm->mm_limits_lock);
		if (tunes)
			mm_limits_tune(mm);
		pages = mm_limits_counted(mm);
		pages += mm_limits_held_back_from(mm);
		spin_unlock(&mm->mm_limits_lock);
		*sum += max(pages, 0L);
		cond_resched();
	}
	return !moved;
}

/**
 * mm_limits_measure - what a user has, with what its threads hold back
 * @limit:	the user's
 *
 * Decides nothing, and changes nothing.
 *
 * Context: process context, may sleep.
 * Return: resident pages, also of what is dying.
 */
unsigned long mm_limits_measure(struct mm_limit *limit)
{
	unsigned long sum;
	int tries = 0;

	/* Processes that become other users' can go on for ever. */
	while (!mm_limits_add_up(limit, false, &sum) && ++tries < MM_LIMITS_TRIES)
		continue;
	return sum;
}

/**
 * mm_limits_go_near - have every page of a user count, until somebody has looked
 * @limit:	the user's
 *
 * Context: process context, may sleep; without the limit's mutex.
 */
void mm_limits_go_near(struct mm_limit *limit)
{
	unsigned long sum;

	if (READ_ONCE(limit->near) && READ_ONCE(limit->told_near))
		return;
	WRITE_ONCE(limit->told_near, false);
	WRITE_ONCE(limit->near, true);
	/* Pairs with __mm_limits_mm_unused(). */
	smp_mb();
	/* Behind it: a look that is just over may have found a mark for being far. */
	WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
	if (mm_limits_add_up(limit, true, &sum) && READ_ONCE(limit->near))
		WRITE_ONCE(limit->told_near, true);
}
