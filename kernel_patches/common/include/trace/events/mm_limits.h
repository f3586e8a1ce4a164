/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decisions about a user's limit, as events: each candidate of a scan with what its
 * score is made of, and a kill, with what its record in the kernel log says.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mm_limits

#if !defined(_TRACE_MM_LIMITS_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MM_LIMITS_H

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

struct mm_limits_candidate;

TRACE_EVENT(mm_limits_kill,
	    TP_PROTO(const struct mm_limits_record *record),
	    TP_ARGS(record),
	    TP_STRUCT__entry(__field(uid_t, uid)
			     __field(unsigned long, usage)
			     __field(unsigned long, mm_max)
			     __field(pid_t, pid)
			     __field(unsigned long, rss)
			     __field(s64, score)
			     __field(pid_t, sharer_of)
			     __field(bool, dry_run)
			     __array(char, policy, MM_LIMITS_POLICY_LEN)
			     __array(char, trigger, MM_LIMITS_TRIGGER_LEN)
			     __array(char, comm, MM_LIMITS_COMM_LEN)),
	    TP_fast_assign(__entry->uid = record->uid;
			   __entry->usage = record->usage;
			   __entry->mm_max = record->mm_max;
			   __entry->pid = record->pid;
			   __entry->rss = record->rss;
			   __entry->score = record->score;
			   __entry->sharer_of = record->sharer_of;
			   __entry->dry_run = record->dry_run;
			   snprintf(__entry->policy, MM_LIMITS_POLICY_LEN, "%s", record->policy);
			   snprintf(__entry->trigger, MM_LIMITS_TRIGGER_LEN, "%s", record->trigger);
			   snprintf(__entry->comm, MM_LIMITS_COMM_LEN, "%s", record->comm);),
	    TP_printk("uid=%u uRSS=%lu mm_max=%lu pid=%d pRSS=%lu score=%lld policy=%s trigger=%s dry_run=%d sharer_of=%d comm=%s",
		      __entry->uid, __entry->usage, __entry->mm_max, __entry->pid, __entry->rss,
		      (long long)__entry->score, __entry->policy, __entry->trigger,
		      __entry->dry_run, __entry->sharer_of, __entry->comm)
);

/* In the order in which they are weighed; memory in pages. */
TRACE_EVENT(mm_limits_candidate,
	    TP_PROTO(const struct mm_limits_candidate *candidate),
	    TP_ARGS(candidate),
	    TP_STRUCT__entry(__field(unsigned long, scan)
			     __field(uid_t, uid)
			     __field(pid_t, pid)
			     __field(s64, score)
			     __field(unsigned long, rss)
			     __field(unsigned long, swap)
			     __field(unsigned long, pgtables)
			     __field(int, adj)
			     __field(bool, admin)
			     __field(unsigned long, total)
			     __array(char, policy, MM_LIMITS_POLICY_LEN)),
	    TP_fast_assign(__entry->scan = candidate->scan;
			   __entry->uid = candidate->uid;
			   __entry->pid = candidate->pid;
			   __entry->score = candidate->score;
			   __entry->rss = candidate->usage->rss;
			   __entry->swap = candidate->usage->swap;
			   __entry->pgtables = candidate->usage->pgtables;
			   __entry->adj = candidate->adj;
			   __entry->admin = candidate->admin;
			   __entry->total = candidate->total;
			   snprintf(__entry->policy, MM_LIMITS_POLICY_LEN, "%s",
				    candidate->policy);),
	    TP_printk("scan=%lu uid=%u pid=%d score=%lld rss=%lu swap=%lu pgtables=%lu adj=%d admin=%d total=%lu policy=%s",
		      __entry->scan, __entry->uid, __entry->pid, (long long)__entry->score,
		      __entry->rss, __entry->swap, __entry->pgtables, __entry->adj,
		      __entry->admin, __entry->total, __entry->policy)
);

#endif /* _TRACE_MM_LIMITS_H */

/* Outside the guard: it is read again and again, for other meanings of the above. */
#include <trace/define_trace.h>
