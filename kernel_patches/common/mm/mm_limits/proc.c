// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/mm_limits: every limit, and what became of it. Writing is control.c's.
 */
#include <linux/cred.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "internal.h"

static void *mm_limits_seq_start(struct seq_file *m, loff_t *pos)
{
	mutex_lock(&my_mm_limits.lock);
	/* Once for each reading from the start, not for each piece of it. */
	if (!*pos) {
		mutex_lock(&mm_limits_mutex);
		mm_limits_scan_all();
		mutex_unlock(&mm_limits_mutex);
	}
	return seq_list_start_head(&my_mm_limits.entries, *pos);
}

static void *mm_limits_seq_next(struct seq_file *m, void *v, loff_t *pos)
{
	return seq_list_next(v, &my_mm_limits.entries, pos);
}

static void mm_limits_seq_stop(struct seq_file *m, void *v)
{
	mutex_unlock(&my_mm_limits.lock);
}

/* Never empty, so that every line has all columns; no name can hold \x00. */
static const char *mm_limits_last_comm(const struct mm_limit *limit)
{
	if (!limit->kills)
		return "-";
	return *limit->last_comm ? limit->last_comm : "\\x00";
}

static const char *mm_limits_policy_name(const struct mm_limits_settings *set)
{
	return *set->policy ? set->policy : "-";
}

static void mm_limits_show_ranges(struct seq_file *m)
{
	const struct mm_limits_range *range;
	unsigned int i;

	for (i = 0; (range = mm_limits_range(i)); i++)
		seq_printf(m, "%u-%u %lu 0 0 0 0 %u %s %d 0 -\n", range->first, range->last,
			   range->set.max, range->set.grace, mm_limits_policy_name(&range->set),
			   range->set.dry_run);
}

static int mm_limits_seq_show(struct seq_file *m, void *v)
{
	struct mm_limit *limit;

	if (v == &my_mm_limits.entries) {
		seq_puts(m, "uid mm_max rss peak_rss overshoot kills ");
		seq_puts(m, "grace policy dry_run last_pid last_comm\n");
		mm_limits_show_ranges(m);
		return 0;
	}
	limit = list_entry(v, struct mm_limit, list);
	mutex_lock(&mm_limits_mutex);
	seq_printf(m, "%u %lu %lu %lu %lu %lu %u %s %d %d %s\n",
		   from_kuid_munged(current_user_ns(), limit->uid), limit->max,
		   mm_limits_bytes(mm_limits_total(&limit->tally)),
		   mm_limits_bytes(limit->peak),
		   mm_limits_bytes(limit->overshoot), limit->kills, limit->set.grace,
		   mm_limits_policy_name(&limit->set), limit->set.dry_run, limit->last_pid,
		   mm_limits_last_comm(limit));
	mutex_unlock(&mm_limits_mutex);
	return 0;
}

static const struct seq_operations mm_limits_seq_ops = {
	.start	= mm_limits_seq_start,
	.next	= mm_limits_seq_next,
	.stop	= mm_limits_seq_stop,
	.show	= mm_limits_seq_show,
};

MM_LIMITS_SEQ_FILE(mm_limits_proc, mm_limits_seq_ops, mm_limits_control)

static int __init mm_limits_proc_init(void)
{
	return mm_limits_proc_create("mm_limits") ? 0 : -ENOMEM;
}
late_initcall(mm_limits_proc_init);
