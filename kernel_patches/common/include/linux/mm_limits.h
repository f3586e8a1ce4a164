/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A limit on the resident memory of a user, and an OOM killer of its own.
 *
 * The table of limits is my_mm_limits, defined in init_task.c. Setting a limit
 * is set_mm_limits(), a kill on request is my_oom_killer(); both syscalls are
 * supplied by modules. See mm/mm_limits/ for how it works.
 */
#ifndef _LINUX_MM_LIMITS_H
#define _LINUX_MM_LIMITS_H

#include <linux/linkage.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/mm_limits_compat.h>
#include <asm/current.h>

struct cred;
struct task_struct;

#ifdef CONFIG_MM_LIMITS

/**
 * struct mm_limits - every user's limit
 * @lock:	held to change the table or to walk @entries; may sleep
 * @count:	entries that were set, at most one for each slot
 * @adopted:	entries that come of a limit for a range of users
 * @entries:	all entries, the least recently set one first
 *
 * By uid they are found in a hash table beside it (table.c): how many slots
 * there are is not known here, or all of the kernel would depend on it.
 */
struct mm_limits {
	struct mutex lock;	/* see above */
	unsigned int count;
	unsigned int adopted;
	struct list_head entries;
};

extern struct mm_limits my_mm_limits;

/**
 * struct mm_limits_usage - what a policy may know of a process's memory
 * @rss:	resident pages of its mm, all kinds
 * @swap:	pages of it that are swapped out
 * @pgtables:	pages that its page tables take
 */
struct mm_limits_usage {
	unsigned long rss;
	unsigned long swap;
	unsigned long pgtables;
};

#define MM_LIMITS_POLICY_LEN	16
#define MM_LIMITS_TRIGGER_LEN	8
/* A name in which every byte became \xHH, and its end. */
#define MM_LIMITS_COMM_LEN	61

/**
 * struct mm_limits_record - what is told of a kill, in the log and as an event
 * @uid:	whose limit it was
 * @usage:	the user's sum before the kill, in bytes
 * @mm_max:	its limit, in bytes
 * @pid:	who died
 * @rss:	its resident memory, in bytes
 * @score:	what the policy gave it
 * @sharer_of:	0, or the victim whose memory it shared
 * @dry_run:	whether it was only said
 * @figure:	what the policy calls its score, or NULL
 * @policy:	its name
 * @trigger:	why somebody looked
 * @comm:	the name of who died, escaped
 */
struct mm_limits_record {
	uid_t uid;
	unsigned long usage;
	unsigned long mm_max;
	pid_t pid;
	unsigned long rss;
	s64 score;
	pid_t sharer_of;
	bool dry_run;
	const char *figure;
	const char *policy;
	const char *trigger;
	const char *comm;
};

/**
 * struct mm_limits_policy - how to choose among a user's processes
 * @name:	unique, without white space, at most MM_LIMITS_POLICY_LEN - 1 bytes
 * @figure:	what the score is called in the kill record, NULL to leave it out
 * @score:	how much a process deserves to die; the largest does. It is
 *		called under rcu_read_lock() and must not sleep. The first
 *		argument is the leader of the thread group, perhaps exited.
 * @list:	for the registry
 *
 * Equal scores are decided by the larger RSS, then for the younger process.
 */
struct mm_limits_policy {
	const char *name;
	const char *figure;
	s64 (*score)(struct task_struct *p, const struct mm_limits_usage *usage);
	struct list_head list;
};

int mm_limits_register_policy(struct mm_limits_policy *policy);
void mm_limits_unregister_policy(struct mm_limits_policy *policy);
bool mm_limits_policy_exists(const char *name);

/**
 * struct mm_limits_provider - a module that supplies syscalls
 * @set_mm_limits:	the body of set_mm_limits(), or NULL
 * @my_oom_killer:	the body of my_oom_killer(), or NULL
 */
struct mm_limits_provider {
	long (*set_mm_limits)(uid_t uid, unsigned long mm_max);
	long (*my_oom_killer)(void);
};

int mm_limits_register_provider(const struct mm_limits_provider *provider);
void mm_limits_unregister_provider(const struct mm_limits_provider *provider);

int mm_limits_set(kuid_t uid, unsigned long mm_max, bool privileged);
void mm_limits_print(void);
long mm_limits_enforce_all(const char *policy);

asmlinkage long sys_set_mm_limits(uid_t uid, unsigned long mm_max);
asmlinkage long sys_my_oom_killer(void);

MM_LIMITS_DECLARE_KEY(mm_limits_key);
void __mm_limits_rss(struct mm_struct *mm, int member, long pages);
void __mm_limits_rss_vec(struct mm_struct *mm, const int *rss);
void __mm_limits_fold(struct mm_struct *mm);
bool __mm_limits_folded(void);
bool __mm_limits_copy(void);
bool __mm_limits_remote(struct mm_struct *mm);
void __mm_limits_resume(void);
void __mm_limits_cred(const struct cred *old, const struct cred *new);
void __mm_limits_mm_exec(struct mm_struct *mm);
void __mm_limits_mm_unused(struct mm_struct *mm);
void __mm_limits_mm_free(struct mm_struct *mm);
void mm_limits_mm_init(struct mm_struct *mm, struct task_struct *p);
void mm_limits_join(struct task_struct *p, struct mm_struct *mm);
void mm_limits_leave(struct mm_struct *mm);

/*
 * The hooks of the series. While no limit is set each is a jump that is not
 * taken (without CONFIG_JUMP_LABEL a test of one word); where a task begins or ends,
 * it comes into a list of the mm or leaves it. The macros are for files that know
 * struct task_struct.
 */

/* Whether changes of the counters of @mm are to be told to the limit that it counts for. */
static inline bool mm_limits_tells(struct mm_struct *mm)
{
	return mm_limits_key_enabled(&mm_limits_key) && READ_ONCE(mm->mm_limits_tells);
}

/**
 * mm_limits_rss - a counter of an mm changes, perhaps of its resident set
 * @mm:		the mm
 * @member:	which counter
 * @pages:	by so many pages
 *
 * Instead of the change, not behind it: so what the compiler makes of a fault,
 * which rarely gets here, is what it was without this.
 *
 * Context: any but an interrupt.
 * Return: whether the counter has been changed; if not, the caller has to.
 */
static inline bool mm_limits_rss(struct mm_struct *mm, int member, long pages)
{
	/* Not mm_limits_tells(): by GCC 12 that makes an instruction more for each page. */
	if (!mm_limits_key_enabled(&mm_limits_key) || !READ_ONCE(mm->mm_limits_tells))
		return false;
	__mm_limits_rss(mm, member, pages);
	return true;
}

/**
 * mm_limits_rss_vec - the same for all counters at once
 * @mm:		the mm
 * @rss:	by how many pages each changes
 *
 * Context: any but an interrupt.
 * Return: whether they have been changed.
 */
static inline bool mm_limits_rss_vec(struct mm_struct *mm, const int *rss)
{
	if (!mm_limits_tells(mm))
		return false;
	__mm_limits_rss_vec(mm, rss);
	return true;
}

/**
 * mm_limits_fold - the current thread adds what it has held back to its mm's counters
 * @mm:		the mm
 *
 * Context: process context.
 * Return: whether that has been done.
 */
static inline bool mm_limits_fold(struct mm_struct *mm)
{
	if (!mm_limits_tells(mm))
		return false;
	__mm_limits_fold(mm);
	return true;
}

/**
 * mm_limits_folded - a fault begins, and what the thread held back has been counted
 *
 * Where its user is above its limit a process of it dies here. Nothing is waited for.
 *
 * Context: may sleep; any lock that sleeps may be held.
 * Return: whether the fault has to fail.
 */
#define mm_limits_folded()							\
	(mm_limits_key_enabled(&mm_limits_key) && current->mm_limits_due &&	\
	 __mm_limits_folded())

/**
 * mm_limits_copy - the same for each page table that a fork copies
 */
#define mm_limits_copy()							\
	(mm_limits_key_enabled(&mm_limits_key) && current->mm_limits_due &&	\
	 __mm_limits_copy())

/**
 * mm_limits_remote - the same for a fault in an mm that may be another process's
 * @mm:		the mm
 * @is_remote:	whether it may be
 */
#define mm_limits_remote(mm, is_remote)						\
	(mm_limits_key_enabled(&mm_limits_key) && (is_remote) && __mm_limits_remote(mm))

/**
 * mm_limits_resume - the current task is about to return to user space
 *
 * Where it has been told to come by it may wait here. Context: no lock held.
 */
#define mm_limits_resume()							\
do {										\
	if (mm_limits_key_enabled(&mm_limits_key) && current->mm_limits_due)	\
		__mm_limits_resume();						\
} while (0)

/**
 * mm_limits_signal - the current task is about to be told of a signal
 *
 * A fault that fails for its frame would kill it: the system call before is over.
 */
#define mm_limits_signal()							\
do {										\
	if (mm_limits_key_enabled(&mm_limits_key))				\
		current->mm_limits_faults = 0;					\
} while (0)

/**
 * mm_limits_fault_around - a fault is about to map so many pages at once
 * @pages:	at most
 */
#define mm_limits_fault_around(pages)						\
do {										\
	if (mm_limits_key_enabled(&mm_limits_key))				\
		mm_limits_fold_after(current, pages);				\
} while (0)

/**
 * mm_limits_mm_copied - a fork has copied an mm
 * @mm:	the copy, which nobody knows yet
 *
 * Before it has been told to mm_limits_fork(), others can find the child and write into it.
 *
 * Context: process context.
 */
static inline void mm_limits_mm_copied(struct mm_struct *mm)
{
	if (mm->mm_limit)
		WRITE_ONCE(mm->mm_limits_tells, true);
}

/**
 * mm_limits_mm_exec - an exec is about to use its new mm
 * @mm:	the new one; what its arguments are has just stopped to count in the old one
 *
 * Context: process context, the only thread.
 */
static inline void mm_limits_mm_exec(struct mm_struct *mm)
{
	if (mm_limits_key_enabled(&mm_limits_key))
		__mm_limits_mm_exec(mm);
}

/**
 * mm_limits_mm_unused - nobody uses an mm any more, nor looks into it
 * @mm:	about to be emptied
 *
 * Context: process context.
 */
static inline void mm_limits_mm_unused(struct mm_struct *mm)
{
	if (mm_limits_tells(mm))
		__mm_limits_mm_unused(mm);
}

/**
 * mm_limits_mm_free - an mm is gone
 * @mm:	not in use any more
 *
 * Context: any.
 */
static inline void mm_limits_mm_free(struct mm_struct *mm)
{
	if (mm->mm_limit)
		__mm_limits_mm_free(mm);
}

/**
 * mm_limits_fork - a task is there
 * @p:	in the list of tasks, and has not run yet
 *
 * Context: may sleep.
 */
#define mm_limits_fork(p)							\
do {										\
	struct task_struct *task = (p);						\
										\
	if (task->mm)								\
		mm_limits_join(task, task->mm);					\
} while (0)

/**
 * mm_limits_exec - the current task has another mm
 * @old:	the one that it had, or NULL
 *
 * Context: may sleep.
 */
#define mm_limits_exec(old)							\
do {										\
	struct mm_struct *before = (old);					\
										\
	current->mm_limits_faults = 0;						\
	if (before)								\
		mm_limits_leave(before);					\
	mm_limits_join(current, current->mm);					\
} while (0)

/**
 * mm_limits_cred - the current task has become somebody else, perhaps
 * @old:	what its credentials were, still valid
 * @new:	what they are now
 *
 * Context: process context, may sleep.
 */
#define mm_limits_cred(old, new)						\
do {										\
	if (mm_limits_key_enabled(&mm_limits_key))				\
		__mm_limits_cred(old, new);					\
} while (0)

/* The mm for which a task may hold back what it counts. */
#define mm_limits_fast_mm(task)		((task)->mm_limits_fast)

#else /* !CONFIG_MM_LIMITS */

#define mm_limits_fast_mm(task)		((task)->mm)
#define mm_limits_folded()		false
#define mm_limits_copy()		false
#define mm_limits_remote(mm, is_remote)	false
#define mm_limits_resume()		do { } while (0)
#define mm_limits_signal()		do { } while (0)
#define mm_limits_fault_around(pages)	do { } while (0)
#define mm_limits_cred(old, new)	do { } while (0)
#define mm_limits_fork(p)		do { } while (0)
#define mm_limits_exec(old)		do { } while (0)

static inline bool mm_limits_rss(struct mm_struct *mm, int member, long pages)
{
	return false;
}

static inline bool mm_limits_rss_vec(struct mm_struct *mm, const int *rss)
{
	return false;
}

static inline bool mm_limits_fold(struct mm_struct *mm)
{
	return false;
}

static inline void mm_limits_mm_init(struct mm_struct *mm, struct task_struct *p)
{
}

static inline void mm_limits_leave(struct mm_struct *mm)
{
}

static inline void mm_limits_mm_copied(struct mm_struct *mm)
{
}

static inline void mm_limits_mm_exec(struct mm_struct *mm)
{
}

static inline void mm_limits_mm_unused(struct mm_struct *mm)
{
}

static inline void mm_limits_mm_free(struct mm_struct *mm)
{
}

#endif /* CONFIG_MM_LIMITS */
#endif /* _LINUX_MM_LIMITS_H */
