// SPDX-License-Identifier: GPL-2.0-only
/*
 * The policies: which of a user's processes dies.
 */
#include <linux/capability.h>
#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/string.h>
#include <linux/swap.h>

#include "internal.h"

/* The largest resident set, in pages. */
static s64 oom_killer_highest_rss(struct task_struct *p, const struct mm_limits_usage *usage)
{
	return usage->rss;
}

/* The longest CPU time of the whole thread group, exited threads too, in ns. */
static s64 oom_killer_longest_run_time(struct task_struct *p, const struct mm_limits_usage *usage)
{
	struct task_cputime time;
	unsigned long flags;

	/* Keeps the threads still, which before 3.14 RCU alone did not. */
	if (!lock_task_sighand(p, &flags))
		return 0;
	thread_group_cputime(p, &time);
	unlock_task_sighand(p, &flags);
	return time.sum_exec_runtime;
}

/* The stock OOM killer's measure, in pages. */
static s64 oom_killer_worst(struct task_struct *p, const struct mm_limits_usage *usage)
{
	const struct mm_limits_points points = {
		.rss = usage->rss,
		.swap = usage->swap,
		.pgtables = usage->pgtables,
		.admin = has_capability_noaudit(p, CAP_SYS_ADMIN),
		.adj = p->signal->oom_score_adj,
		.total = mm_limits_totalram() + total_swap_pages,
	};

	return mm_limits_score_badness(&points);
}

static struct mm_limits_policy mm_limits_by_rss = {
	.name	= "rss",
	.score	= oom_killer_highest_rss,
};

static struct mm_limits_policy mm_limits_by_runtime = {
	.name	= "runtime",
	.figure	= "total_run_time",
	.score	= oom_killer_longest_run_time,
};

static struct mm_limits_policy mm_limits_by_badness = {
	.name	= "badness",
	.figure	= "badness",
	.score	= oom_killer_worst,
};

/* Both under the mutex. A look uses a policy under RCU, and only while the number stays. */
static DEFINE_MUTEX(mm_limits_policy_lock);
static LIST_HEAD(mm_limits_policies);
static const struct mm_limits_policy *mm_limits_policy = &mm_limits_by_rss;
static unsigned long mm_limits_policies_gone;

static const struct mm_limits_policy *mm_limits_find_policy(const char *name)
{
	const struct mm_limits_policy *policy;

	list_for_each_entry_rcu(policy, &mm_limits_policies, list)
		if (!strcmp(policy->name, name))
			return policy;
	return NULL;
}

/**
 * mm_limits_policy_exists - whether a name is a policy's
 * @name:	the name
 *
 * Context: process context.
 */
bool mm_limits_policy_exists(const char *name)
{
	bool exists;

	rcu_read_lock();
	exists = mm_limits_find_policy(name);
	rcu_read_unlock();
	return exists;
}
EXPORT_SYMBOL_GPL(mm_limits_policy_exists);

/**
 * mm_limits_choose - how to choose among a user's processes
 * @limit:	the user's
 * @name:	of a policy, or NULL for the user's own while there is one, or the current one
 * @choice:	the answer; stays good while mm_limits_policy_stays() says so
 *
 * Context: process context; any lock may be held, for nobody waits with this one.
 * Return: whether there is such a policy.
 */
bool mm_limits_choose(struct mm_limit *limit, const char *name,
		      struct mm_limits_choice *choice)
{
	const struct mm_limits_policy *policy = NULL;
	char own[MM_LIMITS_POLICY_LEN];

	choice->dry_run = mm_limits_settings_of(limit, own);
	rcu_read_lock();
	choice->gone = READ_ONCE(mm_limits_policies_gone);
	/* Whoever goes from here on changes the number first. */
	smp_rmb();
	if (name)
		policy = mm_limits_find_policy(name);
	else if (*own)
		policy = mm_limits_find_policy(own);
	if (!policy && !name)
		policy = READ_ONCE(mm_limits_policy);
	if (policy) {
		choice->score = policy->score;
		snprintf(choice->name, sizeof(choice->name), "%s", policy->name);
		snprintf(choice->figure, sizeof(choice->figure), "%s",
			 policy->figure ? policy->figure : "");
	}
	rcu_read_unlock();
	return policy;
}

/**
 * mm_limits_policy_stays - whether a policy may be asked
 * @choice:	from mm_limits_choose()
 *
 * Context: under rcu_read_lock(), which is held while it is asked.
 */
bool mm_limits_policy_stays(const struct mm_limits_choice *choice)
{
	return READ_ONCE(mm_limits_policies_gone) == choice->gone;
}

/**
 * mm_limits_current_policy - the name of the policy of users without one of their own
 * @name:	MM_LIMITS_POLICY_LEN bytes for it
 *
 * Without the lock: anybody may read it, also who gets hardly any CPU.
 *
 * Context: process context.
 */
void mm_limits_current_policy(char *name)
{
	rcu_read_lock();
	snprintf(name, MM_LIMITS_POLICY_LEN, "%s", READ_ONCE(mm_limits_policy)->name);
	rcu_read_unlock();
}

/**
 * mm_limits_use_policy - have another policy choose from now on
 * @name:	its name
 *
 * Context: process context, may sleep.
 * Return: 0, or -EINVAL if there is no such policy.
 */
int mm_limits_use_policy(const char *name)
{
	const struct mm_limits_policy *policy;

	mutex_lock(&mm_limits_policy_lock);
	policy = mm_limits_find_policy(name);
	if (policy)
		WRITE_ONCE(mm_limits_policy, policy);
	mutex_unlock(&mm_limits_policy_lock);
	return policy ? 0 : -EINVAL;
}

/* A name goes into a record and a one-word file. */
static bool mm_limits_good_name(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++)
		if (i >= MM_LIMITS_POLICY_LEN - 1 || !(isalnum(name[i]) || name[i] == '_'))
			return false;
	return i > 0;
}

/**
 * mm_limits_register_policy - add a policy
 * @policy:	stays in use until it is unregistered
 *
 * Context: process context, may sleep.
 * Return: 0; -EEXIST if the name is taken; -EINVAL without a score or with a
 * name that is not 1 to MM_LIMITS_POLICY_LEN - 1 letters, digits and underscores.
 */
int mm_limits_register_policy(struct mm_limits_policy *policy)
{
	int ret = 0;

	if (!policy->score || !policy->name || !mm_limits_good_name(policy->name))
		return -EINVAL;
	if (policy->figure && !mm_limits_good_name(policy->figure))
		return -EINVAL;
	mutex_lock(&mm_limits_policy_lock);
	if (mm_limits_find_policy(policy->name))
		ret = -EEXIST;
	else
		list_add_tail_rcu(&policy->list, &mm_limits_policies);
	mutex_unlock(&mm_limits_policy_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(mm_limits_register_policy);

/**
 * mm_limits_unregister_policy - take a policy away
 * @policy:	registered before; not in use any more on return
 *
 * Where it was the current one, rss takes its place, and a line says so.
 *
 * Context: process context, may sleep.
 */
void mm_limits_unregister_policy(struct mm_limits_policy *policy)
{
	mutex_lock(&mm_limits_policy_lock);
	list_del_rcu(&policy->list);
	if (mm_limits_policy == policy) {
		WRITE_ONCE(mm_limits_policy, &mm_limits_by_rss);
		pr_info("mm_limits: policy %s is gone: %s from now on\n", policy->name,
			mm_limits_policy->name);
	}
	/* First it cannot be found, then no choice of it is good, then nobody asks it. */
	smp_wmb();
	WRITE_ONCE(mm_limits_policies_gone, mm_limits_policies_gone + 1);
	mutex_unlock(&mm_limits_policy_lock);
	synchronize_rcu();
}
EXPORT_SYMBOL_GPL(mm_limits_unregister_policy);

/* Early: before any module can register one, and before user space runs. */
static int __init mm_limits_policy_init(void)
{
	mm_limits_register_policy(&mm_limits_by_rss);
	mm_limits_register_policy(&mm_limits_by_runtime);
	mm_limits_register_policy(&mm_limits_by_badness);
	return mm_limits_use_policy(CONFIG_MM_LIMITS_DEFAULT_POLICY);
}
core_initcall(mm_limits_policy_init);
