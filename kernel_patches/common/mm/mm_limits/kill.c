// SPDX-License-Identifier: GPL-2.0-only
/*
 * Killing a victim, with everybody who shares its memory, and the record of it.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/signal.h>
#include <linux/string.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mm_limits.h>

/* What the records of one decision have in common. */
struct mm_limits_kill {
	struct mm_limit *limit;
	const struct mm_limits_policy *policy;
	const struct mm_limits_victim *victim;
	enum mm_limits_trigger trigger;
};

static const char mm_limits_trigger_names[][MM_LIMITS_TRIGGER_LEN] = {
	[MM_LIMITS_BY_ALLOC]	= "alloc",
	[MM_LIMITS_BY_SYSCALL]	= "syscall",
	[MM_LIMITS_BY_SET]	= "set",
	[MM_LIMITS_BY_GRACE]	= "grace",
};

/*
 * Writes @comm so that it is one word and cannot look like anything else: what
 * is not printable ASCII, the space and the backslash become \xHH.
 */
static void mm_limits_escape(char out[MM_LIMITS_COMM_LEN], const char *comm)
{
	BUILD_BUG_ON(MM_LIMITS_COMM_LEN != 4 * (TASK_COMM_LEN - 1) + 1);

	for (; *comm; comm++) {
		unsigned char c = *comm;

		if (c > ' ' && c < 0x7f && c != '\\')
			*out++ = c;
		else
			out += sprintf(out, "\\x%02x", c);
	}
	*out = '\0';
}

/* Into the log, where it can be found later, and to who follows events. */
static void mm_limits_tell(const struct mm_limits_record *record)
{
	char figure[48] = "";
	char sharer[32] = "";

	if (record->figure)
		snprintf(figure, sizeof(figure), ",\t%s=%lld", record->figure,
			 (long long)record->score);
	if (record->sharer_of)
		snprintf(sharer, sizeof(sharer), ",\tsharer_of=%d", record->sharer_of);
	pr_err("uid=%u,\tuRSS=%lu,\tmm_max=%lu,\tpid=%d,\tpRSS=%lu%s,\tpolicy=%s,\ttrigger=%s%s%s,\tcomm=%s\n",
	       record->uid, record->usage, record->mm_max, record->pid, record->rss, figure,
	       record->policy, record->trigger, record->dry_run ? ",\tdry_run=1" : "", sharer,
	       record->comm);
	trace_mm_limits_kill(record);
}

static void mm_limits_record(const struct mm_limits_kill *kill, struct task_struct *p,
			     const char *comm)
{
	const struct mm_limit *limit = kill->limit;
	const struct mm_limits_victim *victim = kill->victim;
	const struct mm_limits_record record = {
		.uid		= from_kuid(&init_user_ns, limit->uid),
		.usage		= mm_limits_bytes(limit->tally.usage),
		.mm_max		= victim->max,
		.pid		= task_tgid_nr(p),
		.rss		= mm_limits_bytes(victim->rss),
		.score		= victim->score,
		.sharer_of	= same_thread_group(p, victim->task) ? 0 :
				  task_tgid_nr(victim->task),
		.dry_run	= limit->set.dry_run,
		.figure		= kill->policy->figure,
		.policy		= kill->policy->name,
		.trigger	= mm_limits_trigger_names[kill->trigger],
		.comm		= comm,
	};

	mm_limits_tell(&record);
}

/* Returns the number of processes killed, which is 0 if @p was dying already. */
static unsigned int mm_limits_kill_one(const struct mm_limits_kill *kill, struct task_struct *p)
{
	struct mm_limit *limit = kill->limit;
	char escaped[MM_LIMITS_COMM_LEN];
	char comm[TASK_COMM_LEN];

	/* A signal to it would be dropped, and reported as sent. */
	if ((p->signal->flags & SIGNAL_GROUP_EXIT) && !mm_limits_is_dumping(p, kill->victim->mm))
		return 0;
	get_task_comm(comm, p);
	mm_limits_escape(escaped, comm);
	if (limit->set.dry_run) {
		mm_limits_record(kill, p, escaped);
		return 0;
	}
	if (mm_limits_send_sigkill(p))
		return 0;
	limit->kills++;
	if (same_thread_group(p, kill->victim->task)) {
		limit->last_pid = task_tgid_nr(p);
		snprintf(limit->last_comm, sizeof(limit->last_comm), "%s", escaped);
	}
	mm_limits_record(kill, p, escaped);
	return 1;
}

/* Whether @p has to die because it uses @mm. */
static bool mm_limits_shares(struct task_struct *p, const struct mm_struct *mm)
{
	struct task_struct *t;
	bool same;

	if (mm_limits_protected(p))
		return false;
	t = mm_limits_lock_mm(p);
	if (!t)
		return false;
	same = t->mm == mm;
	task_unlock(t);
	return same;
}

/*
 * One record can take long on a slow console, and there can be thousands, so
 * RCU is left for each.
 */
static unsigned int mm_limits_kill_sharers(const struct mm_limits_kill *kill)
{
	unsigned int killed = 0;
	struct task_struct *p;

	rcu_read_lock();
	for_each_process(p) {
		bool alive;

		if (same_thread_group(p, kill->victim->task) ||
		    !mm_limits_shares(p, kill->victim->mm))
			continue;
		get_task_struct(p);
		rcu_read_unlock();
		killed += mm_limits_kill_one(kill, p);
		cond_resched();
		rcu_read_lock();
		alive = pid_alive(p);
		/* This can free it, but not while it is alive and RCU is held. */
		put_task_struct(p);
		/* If it is off the list there is no next one: from the start again. */
		if (!alive)
			p = &init_task;
	}
	rcu_read_unlock();
	return killed;
}

/**
 * mm_limits_kill - kill a victim and all processes that share its memory
 * @limit:	of the user who pays
 * @policy:	who chose
 * @victim:	from mm_limits_scan()
 * @trigger:	why there was a scan
 *
 * Sharers go too, whoever's they are: otherwise nothing would be freed. The
 * scan has made sure that no protected process is among them.
 *
 * In a dry run all of them have their records, and nothing else is done; again
 * only after the user was within its limit.
 *
 * Context: process context, mm_limits_mutex held, no siglock held.
 * Return: how many processes were killed.
 */
unsigned int mm_limits_kill(struct mm_limit *limit, const struct mm_limits_policy *policy,
			    struct mm_limits_victim *victim, enum mm_limits_trigger trigger)
{
	struct mm_limits_kill kill = {
		.limit = limit,
		.policy = policy,
		.victim = victim,
		.trigger = trigger,
	};
	unsigned int killed;

	killed = mm_limits_kill_one(&kill, victim->task);
	killed += mm_limits_kill_sharers(&kill);
	if (limit->set.dry_run)
		limit->told = true;
	else
		mm_limits_mark_dying(victim->mm);
	return killed;
}
