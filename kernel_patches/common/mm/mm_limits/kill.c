// SPDX-License-Identifier: GPL-2.0-only
/*
 * Killing a victim, with everybody who shares its memory, giving that memory back, and
 * the record of it.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/signal.h>
#include <linux/string.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/mm_limits.h>

/* Bytes that are given back before others get to them: the first ones soon. */
#define MM_LIMITS_AT_ONCE	(2UL << 20)

/* Parts of a process's memory that one look gives back. */
#define MM_LIMITS_PARTS		1024

/* Records of one decision in the log: any number would push those of others out of it. */
#define MM_LIMITS_RECORDS	100

/* What the records of one decision have in common, and how many there are. */
struct mm_limits_kill {
	struct mm_limit *limit;
	const struct mm_limits_choice *choice;
	const struct mm_limits_victim *victim;
	enum mm_limits_trigger trigger;
	unsigned int records;
};

static const char mm_limits_trigger_names[][MM_LIMITS_TRIGGER_LEN] = {
	[MM_LIMITS_BY_ALLOC]	= "alloc",
	[MM_LIMITS_BY_SYSCALL]	= "syscall",
	[MM_LIMITS_BY_SET]	= "set",
	[MM_LIMITS_BY_GRACE]	= "grace",
};

/*
 * Writes @comm so that it is one word and cannot look like anything else: what
 * is not printable ASCII, the space and the backslash become \xHH.
 */
static void mm_limits_escape(char out[MM_LIMITS_COMM_LEN], const char *comm)
{
	BUILD_BUG_ON(MM_LIMITS_COMM_LEN != 4 * (TASK_COMM_LEN - 1) + 1);

	for (; *comm; comm++) {
		unsigned char c = *comm;

		if (c > ' ' && c < 0x7f && c != '\\')
			*out++ = c;
		else
			out += sprintf(out, "\\x%02x", c);
	}
	*out = '\0';
}

/* Into the log, where it can be found later. */
static void mm_limits_log(const struct mm_limits_record *record)
{
	char figure[48] = "";
	char sharer[32] = "";

	if (record->figure)
		snprintf(figure, sizeof(figure), ",\t%s=%lld", record->figure,
			 (long long)record->score);
	if (record->sharer_of)
		snprintf(sharer, sizeof(sharer), ",\tsharer_of=%d", record->sharer_of);
	pr_err("uid=%u,\tuRSS=%lu,\tmm_max=%lu,\tpid=%d,\tpRSS=%lu%s,\tpolicy=%s,\ttrigger=%s%s%s,\tcomm=%s\n",
	       record->uid, record->usage, record->mm_max, record->pid, record->rss, figure,
	       record->policy, record->trigger, record->dry_run ? ",\tdry_run=1" : "", sharer,
	       record->comm);
}

static void mm_limits_record(struct mm_limits_kill *kill, struct task_struct *p,
			     const char *comm)
{
	const struct mm_limit *limit = kill->limit;
	const struct mm_limits_victim *victim = kill->victim;
	const struct mm_limits_record record = {
		.uid		= from_kuid(&init_user_ns, limit->uid),
		.usage		= mm_limits_bytes(limit->tally.usage),
		.mm_max		= victim->max,
		.pid		= task_tgid_nr(p),
		.rss		= mm_limits_bytes(victim->rss),
		.score		= victim->score,
		.sharer_of	= same_thread_group(p, victim->task) ? 0 :
				  task_tgid_nr(victim->task),
		.dry_run	= kill->choice->dry_run,
		.figure		= *kill->choice->figure ? kill->choice->figure : NULL,
		.policy		= kill->choice->name,
		.trigger	= mm_limits_trigger_names[kill->trigger],
		.comm		= comm,
	};

	if (kill->records++ < MM_LIMITS_RECORDS)
		mm_limits_log(&record);
	trace_mm_limits_kill(&record);
}

/* Returns the number of processes killed, which is 0 if @p was dying already. */
static unsigned int mm_limits_kill_one(struct mm_limits_kill *kill, struct task_struct *p)
{
	struct mm_limit *limit = kill->limit;
	char escaped[MM_LIMITS_COMM_LEN];
	char comm[TASK_COMM_LEN];

	/* A signal to it would be dropped, and reported as sent. */
	if ((p->signal->flags & SIGNAL_GROUP_EXIT) && !mm_limits_is_dumping(p, kill->victim->mm))
		return 0;
	get_task_comm(comm, p);
	mm_limits_escape(escaped, comm);
	if (kill->choice->dry_run) {
		mm_limits_record(kill, p, escaped);
		return 0;
	}
	if (mm_limits_send_sigkill(p))
		return 0;
	limit->kills++;
	if (same_thread_group(p, kill->victim->task)) {
		limit->last_pid = task_tgid_nr(p);
		snprintf(limit->last_comm, sizeof(limit->last_comm), "%s", escaped);
	}
	mm_limits_record(kill, p, escaped);
	return 1;
}

/*
 * The next process of @mm that this decision, @number, has not seen, with a reference.
 * @behind is the last one, or NULL: it saves the way from the first while it is still there.
 */
static struct task_struct *mm_limits_next_user(struct mm_struct *mm, struct task_struct *behind,
					       unsigned int number)
{
	struct task_struct *t, *found = NULL;

	rcu_read_lock();
	spin_lock(&mm->mm_limits_lock);
	/* It leaves the list after it has left the mm. */
	if (behind && READ_ONCE(behind->mm) != mm)
		behind = NULL;
	t = list_prepare_entry(behind, &mm->mm_limits_tasks, mm_limits_node);
	list_for_each_entry_continue(t, &mm->mm_limits_tasks, mm_limits_node) {
		/* The threads of a process are side by side. */
		if (found && !same_thread_group(t, found))
			break;
		if (!found && t->mm_limits_seen != number) {
			found = t->group_leader;
			get_task_struct(found);
		}
		t->mm_limits_seen = number;
	}
	spin_unlock(&mm->mm_limits_lock);
	rcu_read_unlock();
	return found;
}

/*
 * Has the threads of @mm fail in their next faults, wherever they are. Again once they
 * have been sent SIGKILL: a thread's own count of its faults can get in the way.
 */
static void mm_limits_doom(struct mm_struct *mm)
{
	spin_lock(&mm->mm_limits_lock);
	mm_limits_hold_all(mm);
	mm->mm_limits_doomed = true;
	if (!mm->mm_limits_dying)
		mm_limits_credit(mm, jiffies | MM_LIMITS_STAMPED);
	spin_unlock(&mm->mm_limits_lock);
}

/* Those that only a reaper still kept, whose end takes many locks. */
static struct mm_struct *mm_limits_to_put;
static DEFINE_SPINLOCK(mm_limits_to_put_lock);

static void mm_limits_put_mms(struct work_struct *work)
{
	struct mm_struct *mm, *next;

	spin_lock(&mm_limits_to_put_lock);
	mm = mm_limits_to_put;
	mm_limits_to_put = NULL;
	spin_unlock(&mm_limits_to_put_lock);
	for (; mm; mm = next) {
		next = mm->mm_limits_put;
		mmput(mm);
	}
}

static DECLARE_WORK(mm_limits_put_work, mm_limits_put_mms);

static void mm_limits_put_mm_later(struct mm_struct *mm)
{
	if (atomic_add_unless(&mm->mm_users, -1, 1))
		return;
	spin_lock(&mm_limits_to_put_lock);
	mm->mm_limits_put = mm_limits_to_put;
	mm_limits_to_put = mm;
	spin_unlock(&mm_limits_to_put_lock);
	schedule_work(&mm_limits_put_work);
}

/*
 * The first page from @start on that a thread's list of robust futexes begins in, or
 * ULONG_MAX. Who ends tells others by it that a lock in shared memory is free.
 */
static unsigned long mm_limits_next_kept(struct mm_struct *mm, unsigned long start)
{
	unsigned long page, found = ULONG_MAX;
	struct task_struct *t;

	spin_lock(&mm->mm_limits_lock);
	list_for_each_entry(t, &mm->mm_limits_tasks, mm_limits_node) {
		page = (unsigned long)mm_limits_robust_list(t) & PAGE_MASK;
		if (page >= start)
			found = min(found, page);
	}
	spin_unlock(&mm->mm_limits_lock);
	return found;
}

/*
 * From @start on. @kept is the first page from somewhere before it on that stays, or 0; @left
 * is how many parts may still be given back. Returns where it has got to.
 */
static unsigned long mm_limits_reap_vma(struct mm_struct *mm, struct vm_area_struct *vma,
					unsigned long start, unsigned long *kept,
					unsigned int *left)
{
	unsigned long end;

	for (start = max(start, vma->vm_start); start < vma->vm_end && *left; start = end) {
		if (*kept < start)
			*kept = mm_limits_next_kept(mm, start);
		end = start + PAGE_SIZE;
		--*left;
		if (*kept == start)
			continue;
		end = min3(vma->vm_end, start + MM_LIMITS_AT_ONCE, *kept);
		mm_limits_zap(vma, start, end - start);
	}
	return start;
}

/* With the lock of @mm to read it. Returns whether this has come to the end. */
static bool mm_limits_reap_parts(struct mm_struct *mm)
{
	unsigned long end = mm->mm_limits_reaped, kept = 0;
	unsigned int left = MM_LIMITS_PARTS;
	struct vm_area_struct *vma;

	mm_limits_set_unstable(mm);
	for (vma = find_vma(mm, end); vma && left; vma = find_vma(mm, end)) {
		if (vma->vm_flags & MM_LIMITS_NOT_REAPED) {
			end = vma->vm_end;
			left--;
		} else {
			end = mm_limits_reap_vma(mm, vma, end, &kept, &left);
		}
	}
	mm->mm_limits_reaped = vma ? end : 0;
	return !vma;
}

/**
 * mm_limits_reap - give back the memory of an mm all of whose users have been killed
 * @mm:	the mm
 *
 * As process_mrelease(2) does it. Not while somebody changes the mm, and only some of it
 * if it has very many parts: others may wait for the locks of who does it. Nor where a
 * driver may have to be waited for, but that is a worker's to do. Whoever looks next goes
 * on, and from its beginning while there is some left: who looks into it from outside may
 * have brought something back.
 *
 * Context: process context, any lock that sleeps may be held; the limit's mutex held.
 * Return: whether it has come to the end.
 */
bool mm_limits_reap(struct mm_struct *mm)
{
	bool done = false;

	if (!atomic_inc_not_zero(&mm->mm_users))
		return true;
	if (mm_limits_try_to_read(mm)) {
		/* Under the lock: a driver begins to follow it with the lock held for write. */
		if (!current->mm || !mm_limits_is_followed(mm))
			done = mm_limits_reap_parts(mm);
		mm_limits_done_reading(mm);
	}
	mm_limits_put_mm_later(mm);
	return done;
}

/**
 * mm_limits_kill - kill a victim and all processes that share its memory
 * @limit:	of the user who pays
 * @choice:	how it was chosen
 * @victim:	from mm_limits_look()
 * @trigger:	why somebody looked
 *
 * Sharers go too, whoever's they are: otherwise nothing would be freed. The
 * look has made sure that no protected process is among them. Who is made by one of
 * them meanwhile dies in mm_limits_join().
 *
 * In a dry run all of them have their records, and nothing else is done; again
 * only after the user was within its limit.
 *
 * Context: process context, the limit's mutex held, no siglock held.
 * Return: how many processes were killed.
 */
unsigned int mm_limits_kill(struct mm_limit *limit, const struct mm_limits_choice *choice,
			    struct mm_limits_victim *victim, enum mm_limits_trigger trigger)
{
	static atomic_t numbers = ATOMIC_INIT(0);
	struct mm_limits_kill kill = {
		.limit = limit,
		.choice = choice,
		.victim = victim,
		.trigger = trigger,
	};
	unsigned int number = atomic_inc_return(&numbers);
	unsigned int killed = 0;
	struct task_struct *p, *last = NULL;

	if (choice->dry_run) {
		limit->told = true;
	} else {
		/* Until somebody has looked again. */
		WRITE_ONCE(limit->crowded, true);
		mm_limits_queue_poll(limit);
		mm_limits_doom(victim->mm);
	}
	while ((p = mm_limits_next_user(victim->mm, last, number))) {
		killed += mm_limits_kill_one(&kill, p);
		if (last)
			put_task_struct(last);
		last = p;
		cond_resched();
	}
	if (last)
		put_task_struct(last);
	if (kill.records > MM_LIMITS_RECORDS)
		pr_err("mm_limits: pid=%d shared its memory with %u processes more\n",
		       task_tgid_nr(victim->task), kill.records - MM_LIMITS_RECORDS);
	if (!choice->dry_run) {
		mm_limits_doom(victim->mm);
		mm_limits_reap(victim->mm);
	}
	return killed;
}

/**
 * mm_limits_forget_victim - let go of a victim
 * @victim:	from mm_limits_look(), or empty
 */
void mm_limits_forget_victim(struct mm_limits_victim *victim)
{
	if (!victim->task)
		return;
	put_task_struct(victim->task);
	mmdrop(victim->mm);
	victim->task = NULL;
}
