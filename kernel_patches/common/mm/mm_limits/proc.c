// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/mm_limits: every limit, and what became of it. Writing is control.c's.
 */
#include <linux/cred.h>
#include <linux/init.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include "internal.h"

/* The table is not held meanwhile: anybody may read, and slowly. */
static void *mm_limits_seq_start(struct seq_file *m, loff_t *pos)
{
	return *pos ? mm_limits_entry(*pos - 1) : SEQ_START_TOKEN;
}

static void mm_limits_seq_stop(struct seq_file *m, void *v)
{
	if (v && v != SEQ_START_TOKEN)
		mm_limits_put(v);
}

static void *mm_limits_seq_next(struct seq_file *m, void *v, loff_t *pos)
{
	mm_limits_seq_stop(m, v);
	++*pos;
	return mm_limits_seq_start(m, pos);
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

/*
 * Measured once a tick, and half of the time, at most: its threads wait for some of the
 * locks, and anybody may read.
 */
static unsigned long mm_limits_rss_of(struct mm_limit *limit)
{
	unsigned long begun = jiffies;

	if (begun - READ_ONCE(limit->shown_at) >= READ_ONCE(limit->shown_for)) {
		WRITE_ONCE(limit->shown, mm_limits_measure(limit));
		WRITE_ONCE(limit->shown_for, jiffies - begun + 1);
		WRITE_ONCE(limit->shown_at, jiffies);
	}
	return READ_ONCE(limit->shown);
}

static int mm_limits_seq_show(struct seq_file *m, void *v)
{
	struct mm_limit *limit = v;
	unsigned long sum;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "uid mm_max rss peak_rss overshoot kills ");
		seq_puts(m, "grace policy dry_run last_pid last_comm\n");
		mm_limits_lock_table();
		mm_limits_show_ranges(m);
		mutex_unlock(&my_mm_limits.lock);
		return 0;
	}
	sum = mm_limits_rss_of(limit);
	seq_printf(m, "%u %lu %lu %lu %lu %lu %u %s %d %d %s\n",
		   from_kuid_munged(current_user_ns(), limit->uid), limit->max,
		   mm_limits_bytes(sum), mm_limits_bytes(max(limit->peak, sum)),
		   mm_limits_bytes(limit->overshoot), limit->kills, limit->set.grace,
		   mm_limits_policy_name(&limit->set), limit->set.dry_run, limit->last_pid,
		   mm_limits_last_comm(limit));
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
