/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Between the files of mm/mm_limits/.
 *
 * Locks, outermost first:
 *   the provider's rw_semaphore	syscalls.c: a module may not go away
 *   my_mm_limits.lock			the table or the ranges change, or are walked
 *   limit->mutex			one look, decision or kill for a user at a time
 *   RCU, task_lock
 *   mm->mm_limits_lock			what the mm counts for, and who uses it
 *   limit->mms_lock, siglock		(the first one with interrupts off)
 *
 * A fault can end in limit->mutex, but does not wait for it. Nobody allocates memory
 * while holding it.
 */
#ifndef _MM_LIMITS_INTERNAL_H
#define _MM_LIMITS_INTERNAL_H

#include <linux/atomic.h>
#include <linux/mm.h>
#include <linux/mm_limits.h>
#include <linux/mm_limits_uid.h>
#ifdef CONFIG_MMU_NOTIFIER
#include <linux/mmu_notifier.h>
#endif
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
 * @rooted:		whether root has set it
 * @given:		bytes that root, or a range, gives the user
 * @own:		bytes that the user has set itself
 * @max:		the smaller of both; read without a lock
 * @usage:		pages of the mms that count for it, as far as counters know
 * @dying:		the same of those that are as good as free
 * @tasks:		tasks that use these mms, and mms that none uses
 * @came:		how often an mm with tasks has come to count, of which nobody knows what
 *			they hold back
 * @mark:		above this sum of both it has to be looked at; read without a lock
 * @low:		and down to this one
 * @held_back:		pages that threads held back when it was looked at last
 * @near:		whether its threads hold nothing back; read without a lock
 * @told_near:		and whether all of them know; read without a lock
 * @waits:		whether a worker has to come again: a victim has not let go of all
 *			of its memory yet; read without a lock
 * @crowded:		whether only what is dying keeps it above its limit, or somebody
 *			still decides that, and its tasks have to do without more; read
 *			without a lock
 * @look:		has a worker look now; has a reference then
 * @later:		and later
 * @worked_at:		when a worker looked last, in jiffies
 * @rests_for:		and for how many it does not do so again
 * @grace_end:		and when the period of grace ends
 * @mms_lock:		for @mms, @tasks, @came, @gone and @set
 * @mms:		the mms that count for it
 * @gone:		it has been removed, and nothing more may count for it
 * @set:		the other settings
 * @mutex:		for the rest
 * @tally:		what the last look found
 * @peak:		the largest sum ever seen, in pages
 * @overshoot:		the most that the sum was ever seen above the limit, in pages
 * @kills:		processes killed
 * @over:		whether it is above its limit, in its period of grace
 * @over_since:		since when, in jiffies
 * @says:		how often it is told what nobody dies for
 * @told:		a kill that is only to be recorded has been
 * @shown:		what readers were told that it has, in pages; without a lock
 * @shown_at:		when, in jiffies
 * @shown_for:		and for how many that is good
 * @turn:		the last request to enforce all limits that saw to it; under
 *			my_mm_limits.lock
 * @stuck:		it has been said that nobody is left to kill
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
	bool rooted;
	unsigned long given;
	unsigned long own;
	unsigned long max;
	atomic_long_t usage;
	atomic_long_t dying;
	long tasks;
	unsigned int came;
	long mark;
	long low;
	long held_back;
	bool near;
	bool told_near;
	bool waits;
	bool crowded;
	struct work_struct look;
	struct delayed_work later;
	unsigned long worked_at;
	unsigned long rests_for;
	struct delayed_work grace_end;

	spinlock_t mms_lock;	/* see above */
	struct list_head mms;
	bool gone;
	struct mm_limits_settings set;

	struct mutex mutex;	/* see above */
	struct mm_limits_tally tally;
	unsigned long peak;
	unsigned long overshoot;
	unsigned long kills;
	bool over;
	unsigned long over_since;
	struct ratelimit_state says;
	bool told;
	unsigned long shown;
	unsigned long shown_at;
	unsigned long shown_for;
	unsigned long turn;
	bool stuck;
	pid_t last_pid;
	char last_comm[MM_LIMITS_COMM_LEN];
};

/**
 * struct mm_limits_choice - how a victim is chosen
 * @gone:	how many policies had gone: the rest is good while that stays
 * @score:	the policy's
 * @name:	its name
 * @figure:	what it calls its score, or empty
 * @dry_run:	whether the kill is only recorded
 */
struct mm_limits_choice {
	unsigned long gone;
	s64 (*score)(struct task_struct *p, const struct mm_limits_usage *usage);
	char name[MM_LIMITS_POLICY_LEN];
	char figure[MM_LIMITS_POLICY_LEN];
	bool dry_run;
};

/**
 * struct mm_limits_victim - a process that a look chose
 * @task:	leader of its thread group, with a reference, or NULL
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

/* What a look at one user comes to. */
enum mm_limits_found {
	MM_LIMITS_WITHIN,	/* it is within its limit */
	MM_LIMITS_VICTIM,	/* it is not, and there is a victim */
	MM_LIMITS_NOBODY,	/* it is not, and nobody is left to kill */
	MM_LIMITS_AGAIN,	/* something has changed meanwhile */
};

/*
 * Whether the current task may get hardly any CPU while others run. It is not to hold a
 * mutex then that root's requests take, too, or be handed it while it waits.
 */
static inline bool mm_limits_is_feeble(void)
{
	return current->policy == SCHED_IDLE || task_nice(current) > 0;
}

/* Whether a driver wants to know what becomes of @mm, or wanted it once. */
static inline bool mm_limits_is_followed(struct mm_struct *mm)
{
#ifdef CONFIG_MMU_NOTIFIER
	return mm_has_notifiers(mm);
#else
	return false;
#endif
}

/* An entry that was removed under somebody's hands has ULONG_MAX, and no limit. */
static inline bool mm_limits_is_over(unsigned long pages, unsigned long max)
{
	return mm_limits_exceeds(pages, max, PAGE_SHIFT);
}

/* Whether @mm, whose lock is held, is taken for free. */
static inline bool mm_limits_is_credited(const struct mm_struct *mm)
{
	return mm->mm_limits_dying && mm->mm_limits_dying != MM_LIMITS_GIVEN_UP;
}

/* table.c */
extern atomic_long_t mm_limits_changes;
extern unsigned int mm_limits_range_count;

/* A number that has changed where what was found before may be wrong. */
static inline long mm_limits_count_changes(void)
{
	long count = atomic_long_read(&mm_limits_changes);

	/* Before anything is looked for. Pairs with mm_limits_settle_all(). */
	smp_rmb();
	return count;
}

void mm_limits_lock_table(void);
struct mm_limit *mm_limits_find(kuid_t uid);
struct mm_limit *mm_limits_get(kuid_t uid);
void mm_limits_put(struct mm_limit *limit);
bool mm_limits_adopt(kuid_t uid);
struct mm_limit *mm_limits_entry(loff_t place);
bool mm_limits_settings_of(struct mm_limit *limit, char *policy);
int mm_limits_apply(kuid_t uid, const struct mm_limits_settings *set, bool privileged);
int mm_limits_apply_range(uid_t first, uid_t last, const struct mm_limits_settings *set);
bool mm_limits_in_range(kuid_t uid);
const struct mm_limits_range *mm_limits_range(unsigned int index);

/* account.c */
long mm_limits_counted(struct mm_struct *mm);
long mm_limits_charge(struct mm_struct *mm);
void mm_limits_let_all_hold_back(struct mm_struct *mm);
long mm_limits_held_back(struct task_struct *t);
long mm_limits_sum(struct mm_limit *limit);
bool mm_limits_is_due(struct mm_limit *limit);
void mm_limits_hold(struct task_struct *p);
void mm_limits_hold_all(struct mm_struct *mm);
void mm_limits_hold_back(void);
void mm_limits_credit(struct mm_struct *mm, unsigned long dying);
kuid_t mm_limits_payer(struct task_struct *p);
kuid_t mm_limits_settle(struct mm_struct *mm);
void mm_limits_settle_for_good(struct mm_struct *mm);
struct mm_limit *mm_limits_of(struct mm_struct *mm);

/* look.c */
enum mm_limits_found mm_limits_look(struct mm_limit *limit, const struct mm_limits_choice *choice,
				    struct mm_limits_victim *victim);
struct mm_struct *mm_limits_next_mm(struct mm_limit *limit, struct mm_struct *mm, bool *moved);
unsigned long mm_limits_measure(struct mm_limit *limit);
void mm_limits_go_near(struct mm_limit *limit);
bool mm_limits_protected(struct task_struct *p);

/* control.c */
ssize_t mm_limits_control(struct file *file, const char __user *buffer, size_t count,
			  loff_t *pos);

/* kill.c */
unsigned int mm_limits_kill(struct mm_limit *limit, const struct mm_limits_choice *choice,
			    struct mm_limits_victim *victim, enum mm_limits_trigger trigger);
bool mm_limits_reap(struct mm_struct *mm);
void mm_limits_forget_victim(struct mm_limits_victim *victim);

/* enforce.c */
unsigned int mm_limits_enforce(struct mm_limit *limit, const char *policy,
			       enum mm_limits_trigger trigger);
void mm_limits_enforce_set(struct mm_limit *limit);
void mm_limits_queue_look(struct mm_limit *limit);
void mm_limits_queue_all(void);
void mm_limits_queue_poll(struct mm_limit *limit);
void mm_limits_init_works(struct mm_limit *limit);
unsigned long mm_limits_bytes(unsigned long pages);

/* policy.c */
bool mm_limits_choose(struct mm_limit *limit, const char *name, struct mm_limits_choice *choice);
bool mm_limits_policy_stays(const struct mm_limits_choice *choice);
void mm_limits_current_policy(char *name);
int mm_limits_use_policy(const char *name);

/* kernel/sys_ni.c; not every linux/syscalls.h has it */
asmlinkage long sys_ni_syscall(void);

/* sysctl.c */
extern bool mm_limits_on_alloc;

#endif /* _MM_LIMITS_INTERNAL_H */
