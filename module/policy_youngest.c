// SPDX-License-Identifier: GPL-2.0-only
/*
 * A loadable policy: the process that was started last dies. It shows what it
 * takes to add one; write its name to /proc/sys/vm/mm_limits_policy to use it.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mm_limits.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

static char *name = "youngest";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "what the policy is called, in case the name is taken");

/* When it was started, in ns since the boot: the last one has the most. */
static s64 youngest_score(struct task_struct *p, const struct mm_limits_usage *usage)
{
	return mm_limits_start_time(p);
}

static struct mm_limits_policy youngest = {
	.figure	= "start_time",
	.score	= youngest_score,
};

static int __init policy_youngest_init(void)
{
	youngest.name = name;
	return mm_limits_register_policy(&youngest);
}
module_init(policy_youngest_init);

static void __exit policy_youngest_exit(void)
{
	mm_limits_unregister_policy(&youngest);
}
module_exit(policy_youngest_exit);

MODULE_DESCRIPTION("A policy for mm_limits: the youngest process dies");
MODULE_LICENSE("GPL");
