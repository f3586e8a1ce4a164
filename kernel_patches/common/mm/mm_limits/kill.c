// SPDX-License-Identifier: GPL-2.0-only
/*
 * Killing a victim, with everybody who shares its memory, and the record of it.
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/uidgid.h>

#include "internal.h"

/* What the records of one decision have in common. */
struct mm_limits_kill {
	struct mm_limit *limit;
	const struct mm_limits_policy *policy;
	const struct mm_limits_victim *victim;
	enum mm_limits_trigger trigger;
};

static const char * const mm_limits_trigger_names[] = {
	[MM_LIMITS_BY_ALLOC]	= "alloc",
	[MM_LIMITS_BY_SYSCALL]	= "syscall",
	[MM_LIMITS_BY_SET]	= "set",
};

/*
 * Writes @comm so that it cannot end the line or look like anything else:
 * what is not printable ASCII, and the backslash, becomes \xHH.
 */
static void mm_limits_escape(char out[MM_LIMITS_COMM_LEN], const char *comm)
{
	for (; *comm; comm++) {
		unsigned char c = *comm;

		if (c < 0x80 && isprint(c) && c != '\\')
			*out++ = c;
		else
			out += sprintf(out, "\\x%02x", c);
	}
	*out = '\0';
}

static void mm_limits_record(const struct mm_limits_kill *kill, struct task_struct *p,
			     const char *comm)
{
	const struct mm_limit *limit = kill->limit;
	const struct mm_limits_policy *policy = kill->policy;
	const struct mm_limits_victim *victim = kill->victim;
	char figure[48] = "";
	char sharer[32] = "";

	if (policy->figure)
		snprintf(figure, sizeof(figure), ",\t%s=%lld", policy->figure,
			 (long long)victim->score);
	if (p != victim->task)
		snprintf(sharer, sizeof(sharer), ",\tsharer_of=%d", task_tgid_nr(victim->task));
	pr_err("uid=%u,\tuRSS=%lu,\tmm_max=%lu,\tpid=%d,\tpRSS=%lu%s,\tpolicy=%s,\ttrigger=%s%s,\tcomm=%s\n",
	       from_kuid(&init_user_ns, limit->uid), mm_limits_bytes(limit->usage),
	       READ_ONCE(limit->max), task_tgid_nr(p), mm_limits_bytes(victim->rss), figure,
	       policy->name, mm_limits_trigger_names[kill->trigger], sharer, comm);
}

/* Returns the number of processes killed, which is 0 if @p was gone already. */
static unsigned int mm_limits_kill_one(const struct mm_limits_kill *kill, struct task_struct *p)
{
	struct mm_limit *limit = kill->limit;
	char comm[TASK_COMM_LEN];

	get_task_comm(comm, p);
	if (do_send_sig_info(SIGKILL, SEND_SIG_PRIV, p, PIDTYPE_TGID))
		return 0;
	limit->last_pid = task_tgid_nr(p);
	mm_limits_escape(limit->last_comm, comm);
	limit->kills++;
	mm_limits_record(kill, p, limit->last_comm);
	return 1;
}

static bool mm_limits_uses(struct task_struct *p, const struct mm_struct *mm)
{
	struct task_struct *t = find_lock_task_mm(p);
	bool same;

	if (!t)
		return false;
	MM_LIMITS_LOCKED(t);
	same = t->mm == mm;
	task_unlock(t);
	return same;
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
	struct task_struct *p;
	unsigned int killed;

	killed = mm_limits_kill_one(&kill, victim->task);
	rcu_read_lock();
	for_each_process(p)
		if (p != victim->task && !mm_limits_protected(p) && mm_limits_uses(p, victim->mm))
			killed += mm_limits_kill_one(&kill, p);
	rcu_read_unlock();
	mm_limits_mark_dying(victim->mm);
	return killed;
}
