// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: whoever writes to /proc/uninterruptible waits until the parameter
 * hold is 0, and no signal ends that. Who is killed meanwhile keeps its memory.
 */
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/mm_limits_compat.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>

#define FILE_NAME	"uninterruptible"

/* A test that has lost its way leaves no task that hangs. */
#define MOST_SECONDS	60
#define POLL_MS		10

static bool hold = true;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "whether those who write have to wait");

static ssize_t uninterruptible_write(struct file *file, const char __user *buffer, size_t count,
				     loff_t *pos)
{
	unsigned long end = jiffies + MOST_SECONDS * HZ;

	while (READ_ONCE(hold) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(msecs_to_jiffies(POLL_MS));
	return count;
}

/* 5.6: files of proc have operations of their own. */
#if MM_LIMITS_SINCE(5, 6)
static const struct proc_ops uninterruptible_ops = {
	.proc_write	= uninterruptible_write,
	.proc_lseek	= noop_llseek,
};
#else
static const struct file_operations uninterruptible_ops = {
	.owner		= THIS_MODULE,
	.write		= uninterruptible_write,
	.llseek		= noop_llseek,
};
#endif

static int __init uninterruptible_init(void)
{
	/* For everybody, after a chmod. */
	return proc_create(FILE_NAME, 0600, NULL, &uninterruptible_ops) ? 0 : -ENOMEM;
}
module_init(uninterruptible_init);

static void __exit uninterruptible_exit(void)
{
	remove_proc_entry(FILE_NAME, NULL);
}
module_exit(uninterruptible_exit);

MODULE_DESCRIPTION("A file on which tests have processes wait uninterruptibly");
MODULE_LICENSE("GPL");
