// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: whoever writes to /proc/uninterruptible waits until the parameter
 * hold is 0, and no signal ends that. With lock_mm it keeps its mm locked meanwhile,
 * so that nobody can give its memory back.
 */
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
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

static bool lock_mm;
module_param(lock_mm, bool, 0644);
MODULE_PARM_DESC(lock_mm, "whether they keep their mm locked meanwhile");

/* 5.8: the lock of an mm is no rwsem by name. */
#if MM_LIMITS_SINCE(5, 8)
#define write_lock_mm(mm)	mmap_write_lock(mm)
#define write_unlock_mm(mm)	mmap_write_unlock(mm)
#else
#define write_lock_mm(mm)	down_write(&(mm)->mmap_sem)
#define write_unlock_mm(mm)	up_write(&(mm)->mmap_sem)
#endif

static ssize_t uninterruptible_write(struct file *file, const char __user *buffer, size_t count,
				     loff_t *pos)
{
	unsigned long end = jiffies + MOST_SECONDS * HZ;
	bool locks = READ_ONCE(lock_mm);

	if (locks)
		write_lock_mm(current->mm);
	while (READ_ONCE(hold) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(msecs_to_jiffies(POLL_MS));
	if (locks)
		write_unlock_mm(current->mm);
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
