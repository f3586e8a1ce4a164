/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A kill for a user's limit, as an event: what its record in the kernel log says.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM mm_limits

#if !defined(_TRACE_MM_LIMITS_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MM_LIMITS_H

#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

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

#endif /* _TRACE_MM_LIMITS_H */

/* Outside the guard: it is read again and again, for other meanings of the above. */
#include <trace/define_trace.h>
