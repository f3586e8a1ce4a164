// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much memory each user has, and whom a policy would have die for it.
 *
 * The ownership rule: an mm is counted once, for the real uid of the oldest
 * process that uses it. Threads share their group's mm and the group's leader
 * answers for all of them; a vfork child's memory is its parent's; after
 * setuid() the memory is the new user's.
 *
 * A scan walks all processes twice. The first walk notes on each mm whether a
 * protected process uses it and whether anybody who is not dying does; only
 * then can the second one count it and weigh its owner. The notes are bits of
 * mm_struct.mm_limits_scan under the scan's number, so they need no clearing.
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

/*
 * One at a time: a scan's notes, the decision that rests on it and the kill
 * that follows. Also holds the list of policies still.
 */
DEFINE_MUTEX(mm_limits_mutex);

/* Of the last scan. */
static unsigned long mm_limits_scan_number;

struct mm_limits_walk {
	/* The one user of interest; NULL: everybody who has a limit. */
	struct mm_limit *only;
	const struct mm_limits_policy *policy;
	struct mm_limits_victim *victim;
};

static unsigned long mm_limits_notes_on(const struct mm_struct *mm)
{
	return mm_limits_notes(mm->mm_limits_scan, mm_limits_scan_number);
}

static void mm_limits_note(struct mm_struct *mm, unsigned long notes)
{
	mm->mm_limits_scan = mm_limits_scan_number | mm_limits_notes_on(mm) | notes;
}

/**
 * mm_limits_protected - whether a process must never be a victim
 * @p:	leader of its thread group
 *
 * Context: under rcu_read_lock().
 */
bool mm_limits_protected(struct task_struct *p)
{
	return is_global_init(p) || (p->flags & PF_KTHREAD) ||
	       p->signal->oom_score_adj == OOM_SCORE_ADJ_MIN;
}

/*
 * For mm_limits_lock_mm(): what find_lock_task_mm() does, but also before 3.14
 * safe under RCU alone.
 */
struct task_struct *__mm_limits_lock_mm(struct task_struct *p)
{
	struct task_struct *t = p;

	do {
		task_lock(t);
		if (t->mm) {
			/* For sparse, which the caller tells that it is held. */
			__release(&t->alloc_lock);
			return t;
		}
		task_unlock(t);
		t = next_thread(t);
		/* Once @p is out of the ring, as after an exec, none comes back to it. */
	} while (t != p && pid_alive(p));
	return NULL;
}

/* @t is a thread of @p with an mm. */
static bool mm_limits_is_dying(struct task_struct *p, struct task_struct *t)
{
	if (p->signal->flags & SIGNAL_GROUP_EXIT) {
		/*
		 * A core dump begins with the flag, is announced before it, and
		 * can take for ever: until it is over this is a candidate.
		 */
		smp_rmb();
		return !mm_limits_is_dumping(p, t->mm);
	}
	return thread_group_empty(t) && (t->flags & PF_EXITING);
}

static unsigned long mm_limits_notes_of(struct task_struct *p, struct task_struct *t)
{
	unsigned long notes = 0;

	if (mm_limits_protected(p))
		notes |= MM_LIMITS_PROTECTED;
	/* A kernel thread borrows an mm and keeps nothing in it alive. */
	if (!(p->flags & PF_KTHREAD) && !mm_limits_is_dying(p, t))
		notes |= MM_LIMITS_LIVE;
	return notes;
}

/**
 * mm_limits_mark_dying - credit an mm from now on
 * @mm:	of a process that was sent SIGKILL
 *
 * Context: mm_limits_mutex held.
 */
void mm_limits_mark_dying(struct mm_struct *mm)
{
	if (!mm->mm_limits_dying)
		mm->mm_limits_dying = jiffies | MM_LIMITS_STAMPED;
}

/* Whether to go on as if the mm of @p were free already. */
static enum mm_limits_credit mm_limits_credit_of(struct task_struct *p, struct mm_struct *mm,
						 bool live)
{
	enum mm_limits_credit credit;

	credit = mm_limits_judge_dying(&mm->mm_limits_dying, live, jiffies,
				       msecs_to_jiffies(MM_LIMITS_PATIENCE_MS));
	if (credit == MM_LIMITS_TOO_LATE)
		pr_warn("mm_limits: pid=%d has not exited within %u ms; going on without it\n",
			task_tgid_nr(p), MM_LIMITS_PATIENCE_MS);
	return credit;
}

/* To whoever follows events; out of the tracepoint, which must not be held up. */
static void mm_limits_tell_candidate(struct mm_limits_walk *walk, struct mm_limit *limit,
				     struct task_struct *p, const struct mm_limits_usage *usage,
				     s64 score)
{
	const struct mm_limits_candidate candidate = {
		.scan	= mm_limits_scan_number,
		.uid	= from_kuid(&init_user_ns, limit->uid),
		.pid	= task_tgid_nr(p),
		.score	= score,
		.usage	= usage,
		.adj	= p->signal->oom_score_adj,
		.admin	= has_capability_noaudit(p, CAP_SYS_ADMIN),
		.total	= mm_limits_totalram() + total_swap_pages,
		.policy	= walk->policy->name,
	};

	trace_mm_limits_candidate(&candidate);
}

/* Keeps the better of @p and the walk's victim so far. Younger ones come later. */
static void mm_limits_weigh(struct mm_limits_walk *walk, struct mm_limit *limit,
			    struct task_struct *p, struct mm_struct *mm,
			    const struct mm_limits_usage *usage)
{
	struct mm_limits_victim *best = walk->victim;
	s64 score = walk->policy->score(p, usage);

	if (mm_limits_tells_candidates())
		mm_limits_tell_candidate(walk, limit, p, usage, score);
	if (!mm_limits_tally_weigh(&limit->tally, score, usage->rss))
		return;
	best->task = p;
	best->mm = mm;
	best->rss = usage->rss;
	best->score = score;
}

/*
 * Where an mm turns out to count for somebody else than it is charged to. In a
 * scan of one user no more is known of the others' than that it is not this one's.
 */
static void mm_limits_reattach(struct mm_limits_walk *walk, struct mm_struct *mm,
			       struct mm_limit *payer)
{
	if (payer || !walk->only || READ_ONCE(mm->mm_limit) == walk->only)
		mm_limits_attach(mm, payer, true);
}

static struct mm_limit *mm_limits_payer(struct mm_limits_walk *walk, struct task_struct *p)
{
	kuid_t uid = task_uid(p);

	if (!walk->only)
		return mm_limits_find(uid);
	return uid_eq(walk->only->uid, uid) ? walk->only : NULL;
}

/*
 * The resident pages of @mm, which @p uses, with those that its threads hold
 * back from the counters: they can be very many together, and only the threads
 * themselves can fold them in.
 */
static unsigned long mm_limits_rss_of(struct task_struct *p, struct mm_struct *mm)
{
	long pages = get_mm_rss(mm);
	struct task_struct *t = p;

	/* The counters first: who folds meanwhile is short, and does not count twice. */
	smp_rmb();
	do {
		if (READ_ONCE(t->mm) == mm)
			pages += mm_limits_held_back(t, MM_FILEPAGES) +
				 mm_limits_held_back(t, MM_ANONPAGES) +
				 mm_limits_shmem_held_back(t);
		t = next_thread(t);
	} while (t != p && pid_alive(p));
	return max(pages, 0L);
}

static void mm_limits_count(struct mm_limits_walk *walk, struct task_struct *p)
{
	struct mm_limits_usage usage;
	struct mm_limit *limit;
	struct task_struct *t;
	struct mm_struct *mm;
	unsigned long notes;
	bool weigh = false;

	t = mm_limits_lock_mm(p);
	if (!t)
		return;
	mm = t->mm;
	/* Once more: the process may have got this mm after the first walk. */
	notes = mm_limits_notes_on(mm) | mm_limits_notes_of(p, t);
	limit = mm_limits_payer(walk, p);
	if (limit)
		limit->threads += get_nr_threads(p);
	if (notes & MM_LIMITS_COUNTED)
		limit = NULL;
	else
		mm_limits_reattach(walk, mm, limit);
	mm_limits_note(mm, notes | MM_LIMITS_COUNTED);
	if (limit) {
		usage.rss = mm_limits_rss_of(p, mm);
		usage.swap = get_mm_counter(mm, MM_SWAPENTS);
		usage.pgtables = mm_limits_pgtables(mm);
		mm_limits_tally_add(&limit->tally, usage.rss,
				    mm_limits_credit_of(p, mm, notes & MM_LIMITS_LIVE));
		weigh = walk->policy && mm_limits_eligible(notes, mm->mm_limits_dying);
	}
	task_unlock(t);
	if (weigh)
		mm_limits_weigh(walk, limit, p, mm, &usage);
}

static void mm_limits_note_process(struct task_struct *p)
{
	struct task_struct *t = mm_limits_lock_mm(p);

	if (!t)
		return;
	mm_limits_note(t->mm, mm_limits_notes_of(p, t));
	task_unlock(t);
}

/*
 * What a fork has not finished is its maker's user's, and no victim. A maker that
 * is dying copies on, but nobody will ever use that, and the pages are its own,
 * which are credited; or the child is among the processes already, and counts.
 */
static void mm_limits_count_unborn(struct mm_struct *mm, void *data)
{
	struct mm_limit *limit = READ_ONCE(mm->mm_limit);
	struct mm_limits_walk *walk = data;
	struct task_struct *maker = mm->mm_limits_maker;

	if (!limit || (walk->only && walk->only != limit) ||
	    maker->signal->flags & SIGNAL_GROUP_EXIT || maker->flags & PF_EXITING)
		return;
	mm_limits_note(mm, MM_LIMITS_COUNTED);
	mm_limits_tally_add(&limit->tally, get_mm_rss(mm), MM_LIMITS_IN_USE);
}

static void mm_limits_walk(struct mm_limits_walk *walk)
{
	struct task_struct *p;

	mm_limits_scan_number = mm_limits_next_scan(mm_limits_scan_number);
	mm_limits_show_unborn(mm_limits_count_unborn, walk);
	for_each_process(p)
		mm_limits_note_process(p);
	for_each_process(p)
		if (!(p->flags & PF_KTHREAD))
			mm_limits_count(walk, p);
}

static void mm_limits_clear(struct mm_limit *limit)
{
	memset(&limit->tally, 0, sizeof(limit->tally));
	limit->threads = 0;
	WRITE_ONCE(limit->watched, true);
	/* Who does not see that yet has changed its counters before: they are read below. */
	smp_mb();
	/*
	 * Before anything is counted: what comes in between counts twice, not
	 * never. And first what was freed, so that all that is freed from here on
	 * is known.
	 */
	limit->freed_base = atomic_long_read(&limit->freed);
	/* See above; whoever frees lowers @grown first. */
	smp_rmb();
	limit->base = atomic_long_read(&limit->grown);
	/* See above: before the counters of any mm. */
	smp_mb();
}

/* What the usage just counted says about the worst ever seen. */
static void mm_limits_remember(struct mm_limit *limit, bool decides)
{
	unsigned long max = READ_ONCE(limit->max);
	unsigned long sum = mm_limits_total(&limit->tally);

	limit->scanned = jiffies;
	limit->peak = max(limit->peak, sum);
	if (mm_limits_is_over(sum, max))
		limit->overshoot = max(limit->overshoot, sum - max / PAGE_SIZE);
	WRITE_ONCE(limit->crowded,
		   mm_limits_is_over(sum, max) && !mm_limits_is_over(limit->tally.usage, max));
	mm_limits_set_mark(limit, decides);
}

/**
 * mm_limits_scan_all - work out the usage of every user that has a limit
 *
 * Context: my_mm_limits.lock and mm_limits_mutex held.
 */
void mm_limits_scan_all(void)
{
	struct mm_limits_walk walk = { };
	struct mm_limit *limit;

	list_for_each_entry(limit, &my_mm_limits.entries, list)
		mm_limits_clear(limit);
	rcu_read_lock();
	mm_limits_walk(&walk);
	rcu_read_unlock();
	list_for_each_entry(limit, &my_mm_limits.entries, list)
		mm_limits_remember(limit, false);
}

/* Takes references to a victim that is only held by RCU so far. */
static bool mm_limits_pin(struct mm_limits_victim *victim)
{
	struct task_struct *t = mm_limits_lock_mm(victim->task);
	bool same;

	if (!t)
		return false;
	same = t->mm == victim->mm;
	if (same) {
		get_task_struct(victim->task);
		mm_limits_grab_mm(victim->mm);
	}
	task_unlock(t);
	return same;
}

/**
 * mm_limits_scan - work out one user's usage, and who has to die for it
 * @limit:	the user's; its usage is updated
 * @policy:	who decides
 * @victim:	the answer to MM_LIMITS_VICTIM; the caller drops the references
 *		to its task and mm
 *
 * Context: process context, mm_limits_mutex held.
 * Return: MM_LIMITS_AGAIN if the victim went by itself meanwhile, otherwise
 * what was found.
 */
enum mm_limits_found mm_limits_scan(struct mm_limit *limit, const struct mm_limits_policy *policy,
				    struct mm_limits_victim *victim)
{
	struct mm_limits_walk walk = { .only = limit, .policy = policy, .victim = victim };
	enum mm_limits_found found;

	memset(victim, 0, sizeof(*victim));
	victim->max = READ_ONCE(limit->max);
	/* Removed meanwhile: nothing is to count for it, or to wait, any more. */
	if (victim->max == ULONG_MAX) {
		WRITE_ONCE(limit->crowded, false);
		WRITE_ONCE(limit->anew, false);
		return MM_LIMITS_WITHIN;
	}
	mm_limits_clear(limit);
	rcu_read_lock();
	mm_limits_walk(&walk);
	if (!mm_limits_is_over(limit->tally.usage, victim->max))
		found = MM_LIMITS_WITHIN;
	else if (!victim->task)
		found = MM_LIMITS_NOBODY;
	else if (!mm_limits_pin(victim))
		found = MM_LIMITS_AGAIN;
	else
		found = MM_LIMITS_VICTIM;
	rcu_read_unlock();
	mm_limits_remember(limit, true);
	return found;
}
