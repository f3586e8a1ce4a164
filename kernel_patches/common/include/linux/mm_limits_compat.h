/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions, for mm/mm_limits/ and its modules.
 *
 * Nothing else of theirs asks for a version. Each difference has one name here
 * and a comment that says which version changed it. Of the versions in between
 * those that the project builds, nobody has tried one.
 *
 * linux/mm.h takes this in, so it must not need much: most of it are macros,
 * whose headers are those that the user of the macro includes.
 */
#ifndef _LINUX_MM_LIMITS_COMPAT_H
#define _LINUX_MM_LIMITS_COMPAT_H

#include <linux/compiler.h>
#include <linux/jump_label.h>
#include <linux/types.h>
#include <linux/version.h>

#define MM_LIMITS_SINCE(major, minor)	(KERNEL_VERSION(major, minor, 0) <= LINUX_VERSION_CODE)

/*
 * 3.5: users have a type of their own, and differ between user namespaces.
 * Before, a uid was a number that meant the same everywhere.
 */
#if MM_LIMITS_SINCE(3, 5)
#include <linux/uidgid.h>
#else
#define MM_LIMITS_UIDS_ARE_NUMBERS
#define kuid_t				uid_t
#endif

/* 3.9: no cursor any more. 5.4: a condition under which RCU is not needed. */
#if MM_LIMITS_SINCE(5, 4)
#define mm_limits_for_each_rcu(pos, cursor, head, member, cond)	\
	hlist_for_each_entry_rcu(pos, head, member, cond)
#else
#define mm_limits_for_each_rcu(pos, cursor, head, member, cond)	\
	hlist_for_each_entry_rcu(pos, cursor, head, member)
#endif

/* 3.8: everybody may make a user namespace, and the kernel knows who made it. */
#if MM_LIMITS_SINCE(3, 8)
#define mm_limits_user_ns(cred)		((cred)->user_ns)
#define mm_limits_outer_ns(ns)		((ns)->parent)
#define mm_limits_maker_of(ns)		((ns)->owner)
#else
#define mm_limits_user_ns(cred)		(&init_user_ns)
#define mm_limits_outer_ns(ns)		(&init_user_ns)
#define mm_limits_maker_of(ns)		GLOBAL_ROOT_UID
#endif

/* 3.17: a number of ns since the boot. */
#if MM_LIMITS_SINCE(3, 17)
#define mm_limits_start_time(p)		((p)->start_time)
#else
#define mm_limits_start_time(p)		timespec_to_ns(&(p)->start_time)
#endif

/* 3.19 and 4.0, and backported here and there. */
#ifndef READ_ONCE
#define READ_ONCE(x)			ACCESS_ONCE(x)
#endif
#ifndef WRITE_ONCE
#define WRITE_ONCE(x, value)		(ACCESS_ONCE(x) = (value))
#endif

/* 4.2: a lock for each module, in place of one for each parameter. */
#if MM_LIMITS_SINCE(4, 2)
#define mm_limits_param_lock(name)	kernel_param_lock(THIS_MODULE)
#define mm_limits_param_unlock(name)	kernel_param_unlock(THIS_MODULE)
#else
#define mm_limits_param_lock(name)	kparam_block_sysfs_write(name)
#define mm_limits_param_unlock(name)	kparam_unblock_sysfs_write(name)
#endif

/* 4.3: static branches replace static_key_false() on a struct static_key. */
#if MM_LIMITS_SINCE(4, 3)
#define MM_LIMITS_DECLARE_KEY(name)	DECLARE_STATIC_KEY_FALSE(name)
#define MM_LIMITS_DEFINE_KEY(name)	DEFINE_STATIC_KEY_FALSE(name)
#define mm_limits_key_enabled(key)	static_branch_unlikely(key)
#define mm_limits_key_inc(key)		static_branch_inc(key)
#define mm_limits_key_dec(key)		static_branch_dec(key)
#else
#define MM_LIMITS_DECLARE_KEY(name)	extern struct static_key name
#define MM_LIMITS_DEFINE_KEY(name)	struct static_key name = STATIC_KEY_INIT_FALSE
#define mm_limits_key_enabled(key)	static_key_false(key)
#define mm_limits_key_inc(key)		static_key_slow_inc(key)
#define mm_limits_key_dec(key)		static_key_slow_dec(key)
#endif

/* 5.5: there is an event for each change of a counter. */
#if MM_LIMITS_SINCE(5, 5)
#define mm_limits_trace_rss(mm, member, count)	mm_trace_rss_stat(mm, member, count)
#else
#define mm_limits_trace_rss(mm, member, count)	((void)(count))
#endif

/*
 * Up to 6.1, and where page tables have locks of their own, a thread holds its
 * faults back from the counters of its mm: until it begins a fault and has
 * counted 65 of them, or more where one fault maps several pages. Elsewhere
 * every page is counted at once.
 */
#ifdef SPLIT_RSS_COUNTING
#define mm_limits_kept(t, member)	((long)READ_ONCE((t)->rss_stat.count[member]))
/* Not get_mm_counter(): it takes a counter for 0 that others' pages keep below that. */
#define mm_limits_stat(mm, member)	atomic_long_read(&(mm)->rss_stat.count[member])
#define MM_LIMITS_HELD_BACK		96L
#define mm_limits_fold_soon(t)		((t)->rss_stat.events = 1 << 30)
#define mm_limits_fold_after(t, pages)	((t)->rss_stat.events += (pages))
/* The mm for which a thread holds back what it counts, or NULL. */
#define mm_limits_count_fast(t, mm)	WRITE_ONCE((t)->mm_limits_fast, mm)
#else
#define mm_limits_kept(t, member)	0L
#define mm_limits_stat(mm, member)	((long)get_mm_counter(mm, member))
#define MM_LIMITS_HELD_BACK		0L
#define mm_limits_fold_soon(t)		do { } while (0)
#define mm_limits_fold_after(t, pages)	do { } while (0)
#define mm_limits_count_fast(t, mm)	do { } while (0)
#endif
/* Far from its limit, pages by which the counters of each mm may differ from what is known. */
#define MM_LIMITS_SLACK			32L
/* What has to be reserved for a task, with its mm, or for an mm without one. */
#define MM_LIMITS_RESERVE		(MM_LIMITS_HELD_BACK + MM_LIMITS_SLACK)

/* The counters of resident pages. 4.5: shared memory has its own. */
#if MM_LIMITS_SINCE(4, 5)
#define MM_LIMITS_RSS_MEMBERS		{ MM_FILEPAGES, MM_ANONPAGES, MM_SHMEMPAGES }
#else
#define MM_LIMITS_RSS_MEMBERS		{ MM_FILEPAGES, MM_ANONPAGES }
#endif

/* 4.8: there is a flag for it that what a rate limit left out is not worth a line. */
#if MM_LIMITS_SINCE(4, 8)
#define mm_limits_ratelimit_quietly(state)	\
	ratelimit_set_flags(state, RATELIMIT_MSG_ON_RELEASE)
#else
#define mm_limits_ratelimit_quietly(state)	((state)->missed = 0)
#endif

/* 4.11: linux/sched.h came apart into linux/sched/, and atomic_inc() got this name. */
#if MM_LIMITS_SINCE(4, 11)
#define MM_LIMITS_SCHED_IS_APART
#define mm_limits_grab_mm(mm)		mmgrab(mm)
#else
#define mm_limits_grab_mm(mm)		atomic_inc(&(mm)->mm_count)
#endif

/* 4.15: bytes, for all levels. Before, a number of tables of the lowest level. */
#if MM_LIMITS_SINCE(4, 15)
#define mm_limits_pgtables(mm)		(mm_pgtables_bytes(mm) / PAGE_SIZE)
#else
#define mm_limits_pgtables(mm)		((mm)->nr_ptes)
#endif

/*
 * 5.6: files of /proc have operations of their own.
 * MM_LIMITS_SEQ_FILE(name, ops, writer) makes name_create(), which returns NULL
 * where it fails.
 */
#if MM_LIMITS_SINCE(5, 6)
#define MM_LIMITS_PROC_OPS(name, writer)				\
static const struct proc_ops name##_ops = {				\
	.proc_open	= name##_open,					\
	.proc_read	= seq_read,					\
	.proc_write	= (writer),					\
	.proc_lseek	= seq_lseek,					\
	.proc_release	= seq_release,					\
}
#else
#define MM_LIMITS_PROC_OPS(name, writer)				\
static const struct file_operations name##_ops = {			\
	.open		= name##_open,					\
	.read		= seq_read,					\
	.write		= (writer),					\
	.llseek		= seq_lseek,					\
	.release	= seq_release,					\
}
#endif

#define MM_LIMITS_SEQ_FILE(name, ops, writer)				\
static int name##_open(struct inode *inode, struct file *file)		\
{									\
	return seq_open(file, &(ops));					\
}									\
									\
MM_LIMITS_PROC_OPS(name, writer);					\
									\
static struct proc_dir_entry *name##_create(const char *path)		\
{									\
	return proc_create(path, 0644, NULL, &name##_ops);		\
}

/* 4.19: to whom it goes is an enum. 4.20: SEND_SIG_PRIV does what FORCED did. */
#if MM_LIMITS_SINCE(4, 20)
#define mm_limits_send_sigkill(p)	do_send_sig_info(SIGKILL, SEND_SIG_PRIV, p, PIDTYPE_TGID)
#else
#define mm_limits_send_sigkill(p)	do_send_sig_info(SIGKILL, SEND_SIG_FORCED, p, true)
#endif

/* 3.17: whether anybody follows an event. */
#if MM_LIMITS_SINCE(3, 17)
#define mm_limits_tells_candidates()	trace_mm_limits_candidate_enabled()
#else
#define mm_limits_tells_candidates()	true
#endif

/* 5.0: a function. */
#if MM_LIMITS_SINCE(5, 0)
#define mm_limits_totalram()		totalram_pages()
#else
#define mm_limits_totalram()		totalram_pages
#endif

/* 5.8: the handler of a sysctl gets a copy of what the user wrote. */
#if MM_LIMITS_SINCE(5, 8)
#define MM_LIMITS_SYSCTL_BUFFER		void
#else
#define MM_LIMITS_SYSCTL_BUFFER		void __user
#endif

/*
 * Whether @p, which uses @mm, dumps core and can be stopped by a SIGKILL, which
 * came with 3.10. 5.16: core_state moved here from the mm.
 */
#if MM_LIMITS_SINCE(5, 16)
#define mm_limits_is_dumping(p, mm)	((p)->signal->core_state)
#elif MM_LIMITS_SINCE(3, 10)
#define mm_limits_is_dumping(p, mm)	((mm)->core_state)
#else
#define mm_limits_is_dumping(p, mm)	false
#endif

/* 5.8: a lock of an mm is no rwsem by name. */
#if MM_LIMITS_SINCE(5, 8)
#define mm_limits_try_to_read(mm)	mmap_read_trylock(mm)
#define mm_limits_done_reading(mm)	mmap_read_unlock(mm)
#else
#define mm_limits_try_to_read(mm)	down_read_trylock(&(mm)->mmap_sem)
#define mm_limits_done_reading(mm)	up_read(&(mm)->mmap_sem)
#endif

/* 6.1: zap_page_range() goes soon. Before 4.15 it had details. */
#if MM_LIMITS_SINCE(6, 1)
#define mm_limits_zap(vma, start, size)	zap_page_range_single(vma, start, size, NULL)
#elif MM_LIMITS_SINCE(4, 15)
#define mm_limits_zap(vma, start, size)	zap_page_range(vma, start, size)
#else
#define mm_limits_zap(vma, start, size)	zap_page_range(vma, start, size, NULL)
#endif

/*
 * 3.10: who enters a system call of a kernel that has ARM's old ABI, too, may have lost
 * the page with its instruction to another CPU just before. Before, that is an oops: the
 * entry reads the instruction, and has no way out.
 */
#if !MM_LIMITS_SINCE(3, 10) && defined(CONFIG_SMP) &&			\
	(defined(CONFIG_OABI_COMPAT) || !defined(CONFIG_AEABI))
#define MM_LIMITS_ENTRY_READS		VM_EXEC
#else
#define MM_LIMITS_ENTRY_READS		0
#endif

/* 5.18: pages that are locked into memory are unlocked where they are unmapped. */
#if MM_LIMITS_SINCE(5, 18)
#define MM_LIMITS_NOT_REAPED		(VM_HUGETLB | VM_PFNMAP | VM_SHARED)
#else
#define MM_LIMITS_NOT_REAPED		\
	(VM_HUGETLB | VM_PFNMAP | VM_SHARED | VM_LOCKED | MM_LIMITS_ENTRY_READS)
#endif

/* 4.9: faults know that pages of an mm may have been taken away. */
#if MM_LIMITS_SINCE(4, 9)
#define mm_limits_set_unstable(mm)	set_bit(MMF_UNSTABLE, &(mm)->flags)
#else
#define mm_limits_set_unstable(mm)	do { } while (0)
#endif

/* 5.12: threads of a process that do its requests hold locks where others do not. */
#ifdef PF_IO_WORKER
#define mm_limits_is_of_io_uring(t)	((t)->flags & PF_IO_WORKER)
#else
#define mm_limits_is_of_io_uring(t)	false
#endif

#ifdef CONFIG_FUTEX
#define mm_limits_robust_list(t)	((t)->robust_list)
#else
#define mm_limits_robust_list(t)	NULL
#endif

#endif /* _LINUX_MM_LIMITS_COMPAT_H */
