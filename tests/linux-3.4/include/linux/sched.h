/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SCHED_H
#define _LINUX_SCHED_H

#include <linux/types.h>
#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/time.h>
#include <asm/barrier.h>
#include <asm/current.h>

#define TASK_COMM_LEN 16
#define TIF_NOTIFY_RESUME 1
#define SCHED_IDLE 5
#define PF_EXITING 0x00000004
#define PF_DUMPCORE 0x00000200
#define PF_MEMALLOC 0x00000800
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004
#define SEND_SIG_PRIV ((struct siginfo *)1)
#define SEND_SIG_FORCED ((struct siginfo *)2)

typedef unsigned long cputime_t;
struct task_cputime {
	cputime_t utime;
	cputime_t stime;
	unsigned long long sum_exec_runtime;
};
struct signal_struct {
	unsigned int flags;
	int oom_score_adj;
	int nr_threads;
};
struct task_struct {
#ifdef SPLIT_RSS_COUNTING
	struct task_rss_stat rss_stat;
#endif
#ifdef CONFIG_MM_LIMITS
	/* By the series. */
	struct list_head mm_limits_node;
	struct mm_struct *mm_limits_fast;
	bool mm_limits_due;
	unsigned int mm_limits_faults;
	unsigned int mm_limits_seen;
#endif
	atomic_t usage;
	unsigned int flags;
	unsigned int policy;
	struct mm_struct *mm;
	const struct cred *real_cred;
	struct task_struct *group_leader;
	struct list_head tasks;
	struct list_head thread_group;
	struct timespec start_time;
	struct signal_struct *signal;
	spinlock_t alloc_lock;
	struct robust_list_head __user *robust_list;
	char comm[TASK_COMM_LEN];
};
struct sighand_struct;
struct robust_list_head;

extern struct task_struct init_task;
#define next_task(p) list_entry((p)->tasks.next, struct task_struct, tasks)
#define for_each_process(p) for (p = &init_task; (p = next_task(p)) != &init_task;)
extern struct task_struct *next_thread(const struct task_struct *p);
extern int thread_group_empty(struct task_struct *p);
extern int same_thread_group(struct task_struct *p1, struct task_struct *p2);
extern int task_nice(const struct task_struct *p);
extern int pid_alive(struct task_struct *p);
extern int is_global_init(struct task_struct *tsk);
extern pid_t task_tgid_nr(struct task_struct *tsk);
extern void task_lock(struct task_struct *p);
extern void task_unlock(struct task_struct *p);
extern struct sighand_struct *lock_task_sighand(struct task_struct *tsk, unsigned long *flags);
extern void unlock_task_sighand(struct task_struct *tsk, unsigned long *flags);
#define get_task_struct(tsk) do { atomic_inc(&(tsk)->usage); } while (0)
extern void put_task_struct(struct task_struct *t);
extern void mmdrop(struct mm_struct *mm);
extern char *get_task_comm(char *to, struct task_struct *tsk);
extern void thread_group_cputime(struct task_struct *tsk, struct task_cputime *times);
extern void set_tsk_thread_flag(struct task_struct *tsk, int flag);
extern void mmput(struct mm_struct *mm);
extern int fatal_signal_pending(struct task_struct *p);
extern int _cond_resched(void);
#define cond_resched() ({ _cond_resched(); })

extern signed long schedule_timeout_killable(signed long timeout);
extern signed long schedule_timeout_uninterruptible(signed long timeout);

#endif
