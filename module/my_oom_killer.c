// SPDX-License-Identifier: GPL-2.0-only
/*
 * The body of the syscall my_oom_killer(): enforce every limit now.
 */
#include <linux/capability.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mm_limits.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

/* Empty: the policy of /proc/sys/vm/mm_limits_policy. */
static char policy[MM_LIMITS_POLICY_LEN];

static int policy_set(const char *value, const struct kernel_param *param)
{
	char word[MM_LIMITS_POLICY_LEN + 1];
	char *name;

	/* One more for the new line that echo adds. */
	if (snprintf(word, sizeof(word), "%s", value) >= sizeof(word))
		return -EINVAL;
	name = strim(word);
	if (strlen(name) >= sizeof(policy) || (*name && !mm_limits_policy_exists(name)))
		return -EINVAL;
	snprintf(policy, sizeof(policy), "%s", name);
	return 0;
}

static const struct kernel_param_ops policy_ops = {
	.set = policy_set,
	.get = param_get_string,
};

static struct kparam_string policy_string = {
	.maxlen = sizeof(policy),
	.string = policy,
};

module_param_cb(policy, &policy_ops, &policy_string, 0644);
MODULE_PARM_DESC(policy, "who dies: rss, runtime, badness; empty: the kernel's current policy");

/*
 * Kills until every user is within its limit.
 *
 * Returns the number of processes killed; -EPERM without CAP_KILL; -EINVAL if
 * the policy of the parameter is not registered any more.
 */
static long my_oom_killer(void)
{
	char name[sizeof(policy)];

	if (!capable(CAP_KILL))
		return -EPERM;
	mm_limits_param_lock(policy);
	memcpy(name, policy, sizeof(name));
	mm_limits_param_unlock(policy);
	return mm_limits_enforce_all(*name ? name : NULL);
}

static const struct mm_limits_provider provider = {
	.my_oom_killer = my_oom_killer,
};

static int __init my_oom_killer_init(void)
{
	return mm_limits_register_provider(&provider);
}
module_init(my_oom_killer_init);

static void __exit my_oom_killer_exit(void)
{
	mm_limits_unregister_provider(&provider);
}
module_exit(my_oom_killer_exit);

MODULE_DESCRIPTION("Enforces the limits on users' resident memory on request");
MODULE_LICENSE("GPL");
