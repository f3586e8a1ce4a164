// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of limits: who has one, and who may change it.
 *
 * Look-ups are an RCU walk of one hash chain. Changes hold my_mm_limits.lock.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/ratelimit.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

/* How much a user can have the kernel say that nobody has to die for. */
#define MM_LIMITS_SAYS			10
#define MM_LIMITS_SAYS_INTERVAL		(5 * HZ)

/* As many buckets as slots, within reason, and some for users of ranges: a chain is short. */
#define MM_LIMITS_HASH_BITS	(CONFIG_MM_LIMITS_SLOTS <= 256 ? 8 : 12)

/* The entries by uid; readers hold rcu_read_lock(). */
static struct hlist_head mm_limits_hash[1 << MM_LIMITS_HASH_BITS];

/* On while any limit is set. */
MM_LIMITS_DEFINE_KEY(mm_limits_key);

static struct hlist_head *mm_limits_chain(kuid_t uid)
{
	return &mm_limits_hash[hash_32(__kuid_val(uid), MM_LIMITS_HASH_BITS)];
}

/**
 * mm_limits_lock_table - take my_mm_limits.lock
 *
 * Only root's tasks and the kernel's wait in its queue. Handed to one that waits there, and gets
 * hardly any CPU, it would be kept until that one does; others try until it is free. Nor does
 * such a one leave its CPU by itself while it has it.
 *
 * Context: process context, may sleep.
 */
void mm_limits_lock_table(void)
{
	bool privileged = !current->mm || has_capability_noaudit(current, CAP_SYS_RESOURCE);

	if (privileged && !mm_limits_is_feeble()) {
		mutex_lock(&my_mm_limits.lock);
		return;
	}
	while (!mutex_trylock(&my_mm_limits.lock))
		schedule_timeout_uninterruptible(1);
}

/**
 * mm_limits_find - a user's limit
 * @uid:	the user
 *
 * Context: under rcu_read_lock(), or with my_mm_limits.lock held.
 * Return: its entry, or NULL if it has none.
 */
struct mm_limit *mm_limits_find(kuid_t uid)
{
	struct hlist_node *cursor __maybe_unused;
	struct mm_limit *limit;

	mm_limits_for_each_rcu(limit, cursor, mm_limits_chain(uid), hash,
			       lockdep_is_held(&my_mm_limits.lock))
		if (uid_eq(limit->uid, uid))
			return limit;
	return NULL;
}

/**
 * mm_limits_get - a user's limit, to keep
 * @uid:	the user
 *
 * Context: any.
 * Return: its entry with a reference for mm_limits_put(), or NULL, also for one that
 * nothing can count for any more.
 */
struct mm_limit *mm_limits_get(kuid_t uid)
{
	struct mm_limit *limit;

	rcu_read_lock();
	limit = mm_limits_find(uid);
	if (limit && (READ_ONCE(limit->gone) || !atomic_inc_not_zero(&limit->refs)))
		limit = NULL;
	rcu_read_unlock();
	return limit;
}

/**
 * mm_limits_put - let go of an entry
 * @limit:	from mm_limits_get()
 *
 * Context: any.
 */
void mm_limits_put(struct mm_limit *limit)
{
	if (atomic_dec_and_test(&limit->refs))
		kfree_rcu(limit, rcu);
}

static unsigned int *mm_limits_counter(const struct mm_limit *limit)
{
	return limit->adopted ? &my_mm_limits.adopted : &my_mm_limits.count;
}

static void mm_limits_insert(struct mm_limit *limit)
{
	hlist_add_head_rcu(&limit->hash, mm_limits_chain(limit->uid));
	list_add_tail(&limit->list, &my_mm_limits.entries);
	++*mm_limits_counter(limit);
}

/* Has what counts for a limit that is gone count for whom it should. */
static void mm_limits_unsettle(struct mm_limit *limit)
{
	struct mm_struct *mm;
	bool moved;

	/* Each leaves the list, so the next one is the first. */
	while ((mm = mm_limits_next_mm(limit, NULL, &moved))) {
		mm_limits_settle(mm);
		mmdrop(mm);
		if (!mm_limits_is_feeble())
			cond_resched();
	}
}

static void mm_limits_remove(struct mm_limit *limit)
{
	hlist_del_rcu(&limit->hash);
	list_del(&limit->list);
	--*mm_limits_counter(limit);
	/* Whoever still holds it finds that nothing exceeds it any more. */
	WRITE_ONCE(limit->max, ULONG_MAX);
	WRITE_ONCE(limit->crowded, false);
	spin_lock_irq(&limit->mms_lock);
	limit->gone = true;
	spin_unlock_irq(&limit->mms_lock);
	mm_limits_unsettle(limit);
	mm_limits_put(limit);
}

/* What a user has that neither root nor a range gives anything. */
static const struct mm_limits_settings mm_limits_nothing = {
	.given	= MM_LIMITS_MAX | MM_LIMITS_GRACE | MM_LIMITS_POLICY | MM_LIMITS_DRY_RUN,
	.max	= ULONG_MAX,
};

static void mm_limits_combine(struct mm_limit *limit)
{
	WRITE_ONCE(limit->max, min(limit->given, limit->own));
	/* Pairs with mm_limits_remember(). */
	smp_mb();
	/* It has to be looked at. */
	WRITE_ONCE(limit->mark, MM_LIMITS_NEVER);
}

/* Puts what @set gives into an entry. */
static void mm_limits_take_over(struct mm_limit *limit, const struct mm_limits_settings *set)
{
	if (set->given & MM_LIMITS_MAX)
		limit->given = set->max;
	spin_lock_irq(&limit->mms_lock);
	if (set->given & MM_LIMITS_GRACE) {
		limit->set.grace = set->grace;
		/* Not for less: a user that sets its own limit anew gets no new period. */
		limit->over = false;
	}
	if (set->given & MM_LIMITS_POLICY)
		memcpy(limit->set.policy, set->policy, sizeof(set->policy));
	if (set->given & MM_LIMITS_DRY_RUN) {
		limit->set.dry_run = set->dry_run;
		limit->told = false;
	}
	spin_unlock_irq(&limit->mms_lock);
	mm_limits_combine(limit);
}

/**
 * mm_limits_settings_of - how a user's victims are chosen
 * @limit:	the user's
 * @policy:	MM_LIMITS_POLICY_LEN bytes for the name of its own policy, or an empty one
 *
 * Return: whether kills are only recorded.
 */
bool mm_limits_settings_of(struct mm_limit *limit, char *policy)
{
	unsigned long flags;
	bool dry_run;

	spin_lock_irqsave(&limit->mms_lock, flags);
	memcpy(policy, limit->set.policy, MM_LIMITS_POLICY_LEN);
	dry_run = limit->set.dry_run;
	spin_unlock_irqrestore(&limit->mms_lock, flags);
	return dry_run;
}

static struct mm_limit *mm_limits_alloc_entry(kuid_t uid, gfp_t gfp)
{
	struct mm_limit *limit = kzalloc(sizeof(*limit), gfp);

	if (!limit)
		return NULL;
	atomic_set(&limit->refs, 1);
	limit->uid = uid;
	limit->given = ULONG_MAX;
	limit->own = ULONG_MAX;
	limit->mark = MM_LIMITS_NEVER;
	limit->low = MM_LIMITS_NEVER;
	mutex_init(&limit->mutex);
	spin_lock_init(&limit->mms_lock);
	INIT_LIST_HEAD(&limit->mms);
	ratelimit_state_init(&limit->says, MM_LIMITS_SAYS_INTERVAL, MM_LIMITS_SAYS);
	mm_limits_ratelimit_quietly(&limit->says);
	mm_limits_init_works(limit);
	return limit;
}

/*
 * The ranges, disjoint, under my_mm_limits.lock; the first ones are in use. An
 * allocation looks without the lock whether it is worth taking.
 */
#define MM_LIMITS_RANGES	8

static struct mm_limits_range mm_limits_ranges[MM_LIMITS_RANGES];
unsigned int mm_limits_range_count;

static const struct mm_limits_range *mm_limits_find_range(uid_t uid)
{
	unsigned int i, count = READ_ONCE(mm_limits_range_count);

	for (i = 0; i < count; i++)
		if (uid >= READ_ONCE(mm_limits_ranges[i].first) &&
		    uid <= READ_ONCE(mm_limits_ranges[i].last))
			return &mm_limits_ranges[i];
	return NULL;
}

/*
 * Like RLIMIT_AS and the others: one's own, and downwards only. What a range
 * gives counts before there is an entry from it, too.
 */
static bool mm_limits_may_set(kuid_t uid, unsigned long mm_max)
{
	const struct mm_limits_range *range;
	const struct mm_limit *limit;
	bool own;

	rcu_read_lock();
	/* Not for a uid that its memory does not count for: each would take a slot. */
	own = uid_eq(uid, current_uid()) && uid_eq(uid, mm_limits_payer(current));
	rcu_read_unlock();
	if (!own || mm_max == ULONG_MAX)
		return false;
	limit = mm_limits_find(uid);
	if (limit)
		return mm_max <= limit->max;
	range = mm_limits_find_range(__kuid_val(uid));
	return !range || mm_max <= range->set.max;
}

/*
 * Who goes from a full table: what users have set themselves before what was set
 * for one, and of those the least recently set.
 */
static struct mm_limit *mm_limits_least_needed(void)
{
	struct mm_limit *limit, *oldest = NULL;

	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		if (limit->adopted)
			continue;
		if (!limit->rooted)
			return limit;
		if (!oldest)
			oldest = limit;
	}
	return oldest;
}

static int mm_limits_add(struct mm_limit *limit, bool privileged)
{
	struct mm_limit *oldest;

	if (my_mm_limits.count < CONFIG_MM_LIMITS_SLOTS) {
		mm_limits_insert(limit);
		return 0;
	}
	if (!privileged)
		return -ENOSPC;
	oldest = mm_limits_least_needed();
	pr_err("mm_limits: table full: dropped uid=%u, mm_max=%lu\n",
	       from_kuid(&init_user_ns, oldest->uid), oldest->max);
	mm_limits_remove(oldest);
	mm_limits_insert(limit);
	return 1;
}

static bool mm_limits_may_set_locked(kuid_t uid, unsigned long mm_max)
{
	bool may;

	mm_limits_lock_table();
	may = mm_limits_may_set(uid, mm_max);
	mutex_unlock(&my_mm_limits.lock);
	return may;
}

/* What a user has that root has set nothing for. With the lock held. */
static const struct mm_limits_settings *mm_limits_given_to(kuid_t uid)
{
	const struct mm_limits_range *range = mm_limits_find_range(__kuid_val(uid));

	return range ? &range->set : &mm_limits_nothing;
}

/*
 * Has a user set its own limit, which lowers what it is given, and no more. An
 * entry of its range's becomes its own. With the lock held; @fresh as in
 * mm_limits_change().
 */
static int mm_limits_lower(kuid_t uid, struct mm_limit *limit, unsigned long max,
			   struct mm_limit **fresh)
{
	int ret;

	if (limit && limit->adopted) {
		if (my_mm_limits.count >= CONFIG_MM_LIMITS_SLOTS)
			return -ENOSPC;
		my_mm_limits.adopted--;
		my_mm_limits.count++;
		limit->adopted = false;
		list_move_tail(&limit->list, &my_mm_limits.entries);
		kfree(*fresh);
		*fresh = NULL;
	}
	if (limit) {
		/* Who may not evict may not decide either who is evicted next. */
		limit->own = max;
		/* Nor have it looked at again for nothing. */
		if (min(limit->given, max) != limit->max)
			mm_limits_combine(limit);
		return 0;
	}
	(*fresh)->own = max;
	mm_limits_take_over(*fresh, mm_limits_given_to(uid));
	ret = mm_limits_add(*fresh, false);
	if (ret >= 0)
		*fresh = NULL;
	return ret;
}

/* Takes away what was set for a user; what it has set itself goes only if that was all. */
static void mm_limits_drop(struct mm_limit *limit, unsigned int *removed)
{
	if (limit->rooted && limit->own != ULONG_MAX) {
		limit->rooted = false;
		mm_limits_take_over(limit, mm_limits_given_to(limit->uid));
	} else {
		mm_limits_remove(limit);
		*removed = 1;
	}
}

/*
 * Does what mm_limits_set() says, with the lock held. @fresh is an entry that
 * may be used; it is set to NULL if it was. @removed counts the entries that
 * went.
 */
static int mm_limits_change(kuid_t uid, const struct mm_limits_settings *set, bool privileged,
			    struct mm_limit **fresh, unsigned int *removed)
{
	struct mm_limit *limit;
	int ret;

	if (!privileged && !mm_limits_may_set(uid, set->max))
		return -EPERM;
	limit = mm_limits_find(uid);
	if (!privileged)
		return mm_limits_lower(uid, limit, set->max, fresh);
	if ((!limit || limit->adopted) && !(set->given & MM_LIMITS_MAX))
		return -ENOENT;
	/* As with a user that has no limit: nothing to take away is no error. */
	if (limit && limit->adopted && set->max == ULONG_MAX)
		return 0;
	if (limit && limit->adopted) {
		/* It gets an entry of its own. */
		mm_limits_remove(limit);
		limit = NULL;
	}
	if (set->given & MM_LIMITS_MAX && set->max == ULONG_MAX) {
		if (limit)
			mm_limits_drop(limit, removed);
		return 0;
	}
	if (limit) {
		limit->rooted |= !!(set->given & MM_LIMITS_MAX);
		mm_limits_take_over(limit, set);
		list_move_tail(&limit->list, &my_mm_limits.entries);
		return 0;
	}
	(*fresh)->rooted = true;
	mm_limits_take_over(*fresh, set);
	ret = mm_limits_add(*fresh, true);
	if (ret >= 0)
		*fresh = NULL;
	if (ret > 0)
		*removed = 1;
	return ret;
}

/*
 * Users come and go: those of whom nothing is left are let go of when the number
 * has doubled. With the lock held.
 */
static void mm_limits_sweep(void)
{
	static unsigned int most = 64;
	struct mm_limit *limit, *next;

	if (my_mm_limits.adopted < most)
		return;
	list_for_each_entry_safe(limit, next, &my_mm_limits.entries, list) {
		if (!limit->adopted)
			continue;
		/* Who comes back meanwhile finds none, and adopts the limit once more. */
		spin_lock_irq(&limit->mms_lock);
		limit->gone = list_empty(&limit->mms);
		spin_unlock_irq(&limit->mms_lock);
		if (limit->gone)
			mm_limits_remove(limit);
	}
	most = max(64U, 2 * my_mm_limits.adopted);
}

/**
 * mm_limits_adopt - give a user the limit of the range that it is in
 * @uid:	had none when somebody looked
 *
 * Context: process context, may sleep; no lock of mm_limits held.
 * Return: whether it is done: not where there is no memory.
 */
bool mm_limits_adopt(kuid_t uid)
{
	/* Who ends does not wait for memory: others may wait for its own. */
	gfp_t gfp = current->mm ? GFP_KERNEL : GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN;
	struct mm_limit *limit = mm_limits_alloc_entry(uid, gfp);
	const struct mm_limits_range *range;

	if (!limit)
		return false;
	mm_limits_lock_table();
	range = mm_limits_find_range(__kuid_val(uid));
	if (range && !mm_limits_find(uid)) {
		mm_limits_sweep();
		mm_limits_take_over(limit, &range->set);
		limit->adopted = true;
		mm_limits_insert(limit);
		limit = NULL;
	}
	mutex_unlock(&my_mm_limits.lock);
	kfree(limit);
	return true;
}

/**
 * mm_limits_entry - an entry of the table, by its place
 * @place:	from 0 on
 *
 * Context: process context, may sleep.
 * Return: it, with a reference, or NULL behind the last one.
 */
struct mm_limit *mm_limits_entry(loff_t place)
{
	struct mm_limit *limit, *found = NULL;

	mm_limits_lock_table();
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		if (!place--) {
			atomic_inc(&limit->refs);
			found = limit;
			break;
		}
	}
	mutex_unlock(&my_mm_limits.lock);
	return found;
}

/* How often limits have come or gone. */
atomic_long_t mm_limits_changes = ATOMIC_LONG_INIT(0);

/* What mm_limits_settle() returns for the mm of @p. Under RCU. */
static kuid_t mm_limits_settle_process(struct task_struct *p)
{
	kuid_t wants = GLOBAL_ROOT_UID;
	struct task_struct *t = p;
	bool found = false;

	if (p->flags & PF_KTHREAD)
		return wants;
	/* Once @p is out of the ring, as after an exec, none comes back to it. */
	do {
		task_lock(t);
		found = t->mm;
		if (found)
			wants = mm_limits_settle(t->mm);
		task_unlock(t);
		t = next_thread(t);
	} while (!found && t != p && pid_alive(p));
	return wants;
}

/*
 * Has all that there is count for whom it should, because limits have changed. Whoever
 * comes meanwhile finds them as they are now.
 */
static void mm_limits_settle_all(void)
{
	bool adopts = true;
	struct task_struct *p;
	kuid_t uid;

	/* Who sees that one has come finds it. */
	smp_mb();
	atomic_long_inc(&mm_limits_changes);
	/* Pairs with mm_limits_join(): it finds the limits, or this finds the task. */
	smp_mb();
	rcu_read_lock();
	for_each_process(p) {
		uid = mm_limits_settle_process(p);
		if (!adopts || uid_eq(uid, GLOBAL_ROOT_UID))
			continue;
		rcu_read_unlock();
		/* Without memory it is left to the user's next task. */
		adopts = mm_limits_adopt(uid);
		rcu_read_lock();
		/* The list may have changed. Who has got one is not found again. */
		p = &init_task;
	}
	rcu_read_unlock();
}

static bool mm_limits_gives_limit(const struct mm_limits_settings *set)
{
	return set->given & MM_LIMITS_MAX && set->max != ULONG_MAX;
}

/**
 * mm_limits_apply - change what is set of a user's limit, or remove it
 * @uid:	a valid uid that is not root's
 * @set:	what to change; a limit to begin with needs at least MM_LIMITS_MAX
 * @privileged:	whether the caller has CAP_SYS_RESOURCE; if not, MM_LIMITS_MAX alone
 *
 * A user that is over its new limit loses processes at once, unless the
 * allocation trigger is off.
 *
 * Context: process context, may sleep; no lock of a memory allocation.
 * Return: 0; 1 if the least recently set entry was dropped for it; -EPERM if
 * only a privileged caller may do that; -ENOSPC if the table is full and the
 * caller not privileged; -ENOENT if there is no limit yet; -ENOMEM.
 */
int mm_limits_apply(kuid_t uid, const struct mm_limits_settings *set, bool privileged)
{
	bool adds = mm_limits_gives_limit(set);
	struct mm_limit *fresh, *limit;
	unsigned int removed = 0;
	int ret;

	/* Said early, so that nobody can have the branch switched to and fro. */
	if (!privileged && !mm_limits_may_set_locked(uid, set->max))
		return -EPERM;

	fresh = mm_limits_alloc_entry(uid, GFP_KERNEL);
	if (!fresh)
		return -ENOMEM;

	/*
	 * Counted before the entry can be found and after it cannot, and never
	 * under a lock: switching the branch takes locks of its own, under
	 * which memory is allocated. It stops all CPUs, for each place in the code:
	 * not where there can be no new entry.
	 */
	if (adds)
		mm_limits_key_inc(&mm_limits_key);
	mm_limits_lock_table();
	ret = mm_limits_change(uid, set, privileged, &fresh, &removed);
	mutex_unlock(&my_mm_limits.lock);
	/* Where there is another entry, or one less. */
	if (ret >= 0 && (!fresh || removed))
		mm_limits_settle_all();
	if (adds && fresh)
		removed++;
	kfree(fresh);
	while (removed--)
		mm_limits_key_dec(&mm_limits_key);

	limit = ret < 0 ? NULL : mm_limits_get(uid);
	if (limit) {
		mm_limits_enforce_set(limit);
		mm_limits_put(limit);
	}
	return ret;
}

/**
 * mm_limits_set - set, lower, raise or remove a user's limit
 * @uid:	a valid uid that is not root's
 * @mm_max:	bytes; ULONG_MAX removes the limit
 * @privileged:	whether the caller has CAP_SYS_RESOURCE
 *
 * Context and return: as mm_limits_apply().
 */
int mm_limits_set(kuid_t uid, unsigned long mm_max, bool privileged)
{
	const struct mm_limits_settings set = { .given = MM_LIMITS_MAX, .max = mm_max };

	return mm_limits_apply(uid, &set, privileged);
}
EXPORT_SYMBOL_GPL(mm_limits_set);

/**
 * mm_limits_in_range - whether a user has a limit by its uid
 * @uid:	the user
 *
 * Context: any.
 */
bool mm_limits_in_range(kuid_t uid)
{
	return mm_limits_find_range(__kuid_val(uid));
}

/**
 * mm_limits_range - a range of users that have a limit
 * @index:	from 0 on
 *
 * Context: my_mm_limits.lock held.
 * Return: it, or NULL behind the last one.
 */
const struct mm_limits_range *mm_limits_range(unsigned int index)
{
	return index < mm_limits_range_count ? &mm_limits_ranges[index] : NULL;
}

/*
 * Users of a range that has changed are adopted anew. What a user has set itself
 * stays, and lowers what it is given now.
 */
static void mm_limits_disown(uid_t first, uid_t last)
{
	struct mm_limit *limit, *next;

	list_for_each_entry_safe(limit, next, &my_mm_limits.entries, list) {
		if (limit->rooted || __kuid_val(limit->uid) < first ||
		    __kuid_val(limit->uid) > last)
			continue;
		if (limit->adopted) {
			mm_limits_remove(limit);
			continue;
		}
		mm_limits_take_over(limit, mm_limits_given_to(limit->uid));
		/* It may not grow any more. */
		mm_limits_queue_look(limit);
	}
}

/* Where to put a range: over an equal one, or behind the last; -EBUSY if it cuts another. */
static int mm_limits_place_of(uid_t first, uid_t last)
{
	unsigned int i;

	for (i = 0; i < mm_limits_range_count; i++) {
		const struct mm_limits_range *other = &mm_limits_ranges[i];

		if (other->first == first && other->last == last)
			return i;
		if (first <= other->last && last >= other->first)
			return -EBUSY;
	}
	return i < MM_LIMITS_RANGES ? i : -ENOSPC;
}

/* With the lock held. Sets @change to how many ranges there are more. */
static int mm_limits_change_range(uid_t first, uid_t last, const struct mm_limits_settings *set,
				  int *change)
{
	int place = mm_limits_place_of(first, last);
	bool gone = set->max == ULONG_MAX;

	if (place < 0)
		return place;
	if (place == mm_limits_range_count) {
		/* As with a user that has no limit: nothing to take away is no error. */
		if (gone)
			return 0;
		*change = 1;
	}
	if (gone) {
		mm_limits_ranges[place] = mm_limits_ranges[mm_limits_range_count - 1];
		*change = -1;
	} else {
		mm_limits_ranges[place] = (struct mm_limits_range) {
			.first = first,
			.last = last,
			.set = *set,
		};
		/* What is not named goes, also from who has lowered what it was given. */
		mm_limits_ranges[place].set.given = mm_limits_nothing.given;
	}
	WRITE_ONCE(mm_limits_range_count, mm_limits_range_count + *change);
	mm_limits_disown(first, last);
	return 0;
}

/**
 * mm_limits_apply_range - set or remove the limit of users that have none of their own
 * @first:	their first uid, not root's
 * @last:	their last
 * @set:	what each of them gets; MM_LIMITS_MAX must be given
 *
 * A user's entry takes no slot.
 *
 * Context: process context, may sleep; no lock of a memory allocation.
 * Return: 0; -EBUSY if the range cuts another one; -ENOSPC if there are too
 * many.
 */
int mm_limits_apply_range(uid_t first, uid_t last, const struct mm_limits_settings *set)
{
	bool adds = mm_limits_gives_limit(set);
	int change = 0;
	int ret;

	/* As in mm_limits_apply(): counted before, and not under the lock. */
	if (adds)
		mm_limits_key_inc(&mm_limits_key);
	mm_limits_lock_table();
	ret = mm_limits_change_range(first, last, set, &change);
	mutex_unlock(&my_mm_limits.lock);
	if (!ret)
		mm_limits_settle_all();
	if (adds && !change)
		mm_limits_key_dec(&mm_limits_key);
	if (change < 0)
		mm_limits_key_dec(&mm_limits_key);
	return ret;
}

#define MM_LIMITS_LINES	16

struct mm_limits_line {
	uid_t uid;
	unsigned long max;
};

/* Copies what is to be printed behind the first @skip lines. Returns how many there are. */
static unsigned int mm_limits_copy_lines(unsigned int skip, struct mm_limits_line *lines)
{
	unsigned int number = 0, found = 0;
	struct mm_limit *limit;

	mm_limits_lock_table();
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		if (limit->adopted || number++ < skip)
			continue;
		lines[found].uid = from_kuid(&init_user_ns, limit->uid);
		lines[found].max = limit->max;
		if (++found == MM_LIMITS_LINES)
			break;
	}
	mutex_unlock(&my_mm_limits.lock);
	return found;
}

/**
 * mm_limits_print - write every entry to the kernel log, a line each
 *
 * Not under the lock: it takes as long as the console, and longer for who gets little CPU.
 * An entry that is set meanwhile may come twice, and one behind it be left out.
 *
 * Context: process context, may sleep.
 */
void mm_limits_print(void)
{
	struct mm_limits_line lines[MM_LIMITS_LINES];
	unsigned int printed, found, i;

	for (printed = 0; (found = mm_limits_copy_lines(printed, lines)); printed += found) {
		for (i = 0; i < found; i++) {
			pr_info("uid=%u, mm_max=%lu\n", lines[i].uid, lines[i].max);
			cond_resched();
		}
	}
}
EXPORT_SYMBOL_GPL(mm_limits_print);
