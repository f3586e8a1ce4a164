// SPDX-License-Identifier: GPL-2.0-only
/*
 * For tests: the memory that somebody writes to /proc/use_mm is taken by a kernel
 * thread, which takes over the writer's mm, and keeps it until the parameter hold is 0.
 * As vhost and USB gadgets do.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mm_limits_compat.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#ifdef MM_LIMITS_SCHED_IS_APART
#include <linux/sched/mm.h>
#else
#include <linux/mmu_context.h>
#endif

#define FILE_NAME	"use_mm"

/* A test that has lost its way leaves no thread. */
#define MOST_SECONDS	600
#define POLL_MS		10

static bool hold = true;
module_param(hold, bool, 0644);
MODULE_PARM_DESC(hold, "whether the thread keeps the mm");

static int left;
module_param(left, int, 0444);
MODULE_PARM_DESC(left, "bytes that the thread did not get, when it is through");

/* 5.17: it has another name. */
#if MM_LIMITS_SINCE(5, 17)
#define put_module_and_exit()	module_put_and_kthread_exit(0)
#else
#define put_module_and_exit()	module_put_and_exit(0)
#endif

/* 5.8: the functions have other names, and the limit of addresses is theirs. */
#if MM_LIMITS_SINCE(5, 8)
#define take_over(mm)	kthread_use_mm(mm)
#define give_back(mm)	kthread_unuse_mm(mm)
#else
#define take_over(mm)	do { set_fs(USER_DS); use_mm(mm); } while (0)
#define give_back(mm)	do { unuse_mm(mm); set_fs(KERNEL_DS); } while (0)
#endif

struct use {
	struct mm_struct *mm;
	char __user *buffer;
	size_t count;
	struct completion taken;
};

static int use_mm_thread(void *data)
{
	unsigned long end = jiffies + MOST_SECONDS * HZ;
	struct use *use = data;
	struct mm_struct *mm = use->mm;

	take_over(mm);
	left = clear_user(use->buffer, use->count);
	complete(&use->taken);
	while (READ_ONCE(hold) && time_before(jiffies, end))
		schedule_timeout_uninterruptible(msecs_to_jiffies(POLL_MS));
	give_back(mm);
	mmput(mm);
	put_module_and_exit();
	return 0;
}

static ssize_t use_mm_write(struct file *file, const char __user *buffer, size_t count,
			    loff_t *pos)
{
	struct use use = {
		.mm = get_task_mm(current),
		.buffer = (char __user *)buffer,
		.count = count,
	};
	struct task_struct *thread;

	if (!use.mm)
		return -EINVAL;
	init_completion(&use.taken);
	__module_get(THIS_MODULE);
	thread = kthread_run(use_mm_thread, &use, FILE_NAME);
	if (IS_ERR(thread)) {
		module_put(THIS_MODULE);
		mmput(use.mm);
		return PTR_ERR(thread);
	}
	/* What it is told is on this stack. */
	wait_for_completion(&use.taken);
	return count;
}

/* 5.6: files of proc have operations of their own. */
#if MM_LIMITS_SINCE(5, 6)
static const struct proc_ops use_mm_ops = {
	.proc_write	= use_mm_write,
	.proc_lseek	= noop_llseek,
};
#else
static const struct file_operations use_mm_ops = {
	.owner		= THIS_MODULE,
	.write		= use_mm_write,
	.llseek		= noop_llseek,
};
#endif

static int __init use_mm_init(void)
{
	/* For everybody, after a chmod. */
	return proc_create(FILE_NAME, 0600, NULL, &use_mm_ops) ? 0 : -ENOMEM;
}
module_init(use_mm_init);

static void __exit use_mm_exit(void)
{
	remove_proc_entry(FILE_NAME, NULL);
}
module_exit(use_mm_exit);

MODULE_DESCRIPTION("A kernel thread that takes over the mm of whoever writes to a file");
MODULE_LICENSE("GPL");
