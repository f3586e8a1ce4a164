// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/sys/vm/mm_limits_policy and /proc/sys/vm/mm_limits_trigger: a word each.
 */
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/sysctl.h>

#include "internal.h"

/* Whether an allocation, or a new limit, may lead to a kill. */
bool mm_limits_on_alloc = true;

/* One more than a word can have: what does not fit must not match what was cut. */
#define MM_LIMITS_WORD_LEN	(MM_LIMITS_POLICY_LEN + 1)

/*
 * As proc_dostring(), on @word, which holds MM_LIMITS_WORD_LEN bytes. It takes the
 * first of several lines and says nothing of the others: here that is -EINVAL.
 */
static int mm_limits_do_word(struct ctl_table *table, int write, MM_LIMITS_SYSCTL_BUFFER *buffer,
			     size_t *lenp, loff_t *ppos, char *word)
{
	struct ctl_table copy = *table;
	int ret;

	copy.data = word;
	copy.maxlen = MM_LIMITS_WORD_LEN;
	ret = proc_dostring(&copy, write, buffer, lenp, ppos);
	if (!ret && write && strlen(word) + 1 < *lenp)
		return -EINVAL;
	return ret;
}

static int mm_limits_do_policy(struct ctl_table *table, int write, MM_LIMITS_SYSCTL_BUFFER *buffer,
			       size_t *lenp, loff_t *ppos)
{
	char word[MM_LIMITS_WORD_LEN];
	int ret;

	mm_limits_current_policy(word);
	ret = mm_limits_do_word(table, write, buffer, lenp, ppos, word);
	if (ret || !write)
		return ret;
	return mm_limits_use_policy(strim(word));
}

static int mm_limits_do_trigger(struct ctl_table *table, int write, MM_LIMITS_SYSCTL_BUFFER *buffer,
				size_t *lenp, loff_t *ppos)
{
	char word[MM_LIMITS_WORD_LEN];
	int ret;

	snprintf(word, sizeof(word), READ_ONCE(mm_limits_on_alloc) ? "alloc" : "none");
	ret = mm_limits_do_word(table, write, buffer, lenp, ppos, word);
	if (ret || !write)
		return ret;

	if (!strcmp(strim(word), "none")) {
		WRITE_ONCE(mm_limits_on_alloc, false);
	} else if (!strcmp(strim(word), "alloc")) {
		WRITE_ONCE(mm_limits_on_alloc, true);
		/* Nobody noticed who has grown meanwhile. */
		mm_limits_queue_all();
	} else {
		return -EINVAL;
	}
	return 0;
}

static struct ctl_table mm_limits_sysctls[] = {
	{
		.procname	= "mm_limits_policy",
		.mode		= 0644,
		.proc_handler	= mm_limits_do_policy,
	},
	{
		.procname	= "mm_limits_trigger",
		.mode		= 0644,
		.proc_handler	= mm_limits_do_trigger,
	},
	{ }
};

static int __init mm_limits_sysctl_init(void)
{
	return register_sysctl("vm", mm_limits_sysctls) ? 0 : -ENOMEM;
}
late_initcall(mm_limits_sysctl_init);
