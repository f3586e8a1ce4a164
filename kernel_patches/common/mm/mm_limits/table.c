// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of limits: who has one, and who may change it.
 *
 * Look-ups are an RCU walk of one hash chain. Changes hold my_mm_limits.lock.
 */
#include <linux/cred.h>
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "internal.h"

/* On while any limit is set. */
MM_LIMITS_DEFINE_KEY(mm_limits_key);

static struct hlist_head *mm_limits_chain(kuid_t uid)
{
	return &my_mm_limits.hash[hash_32(__kuid_val(uid), MM_LIMITS_HASH_BITS)];
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
 * Return: its entry with a reference for mm_limits_put(), or NULL.
 */
struct mm_limit *mm_limits_get(kuid_t uid)
{
	struct mm_limit *limit;

	rcu_read_lock();
	limit = mm_limits_find(uid);
	if (limit && !atomic_inc_not_zero(&limit->refs))
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

static void mm_limits_insert(struct mm_limit *limit)
{
	hlist_add_head_rcu(&limit->hash, mm_limits_chain(limit->uid));
	list_add_tail(&limit->list, &my_mm_limits.entries);
	my_mm_limits.count++;
}

static void mm_limits_remove(struct mm_limit *limit)
{
	hlist_del_rcu(&limit->hash);
	list_del(&limit->list);
	my_mm_limits.count--;
	/* Whoever still holds it finds that nothing exceeds it any more. */
	WRITE_ONCE(limit->max, ULONG_MAX);
	mm_limits_put(limit);
}

/* Who may not evict may not decide either who is evicted next. */
static void mm_limits_update(struct mm_limit *limit, unsigned long mm_max, bool privileged)
{
	WRITE_ONCE(limit->max, mm_max);
	atomic_long_set(&limit->credit, 0);
	if (privileged)
		list_move_tail(&limit->list, &my_mm_limits.entries);
}

/* Like RLIMIT_AS and the others: one's own, and downwards only. */
static bool mm_limits_may_set(kuid_t uid, unsigned long mm_max)
{
	struct mm_limit *limit;

	if (!uid_eq(uid, current_uid()) || mm_max == ULONG_MAX)
		return false;
	limit = mm_limits_find(uid);
	return !limit || mm_max <= limit->max;
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
	oldest = list_first_entry(&my_mm_limits.entries, struct mm_limit, list);
	pr_err("mm_limits: table full: dropped uid=%u, mm_max=%lu\n",
	       from_kuid(&init_user_ns, oldest->uid), oldest->max);
	mm_limits_remove(oldest);
	mm_limits_insert(limit);
	return 1;
}

static bool mm_limits_may_set_locked(kuid_t uid, unsigned long mm_max)
{
	bool may;

	mutex_lock(&my_mm_limits.lock);
	may = mm_limits_may_set(uid, mm_max);
	mutex_unlock(&my_mm_limits.lock);
	return may;
}

/*
 * Does what mm_limits_set() says, with the lock held. @fresh is an entry that
 * may be used; it is set to NULL if it was. @removed counts the entries that
 * went.
 */
static int mm_limits_change(kuid_t uid, unsigned long mm_max, bool privileged,
			    struct mm_limit **fresh, unsigned int *removed)
{
	struct mm_limit *limit;
	int ret;

	if (!privileged && !mm_limits_may_set(uid, mm_max))
		return -EPERM;
	limit = mm_limits_find(uid);
	if (mm_max == ULONG_MAX) {
		if (limit) {
			mm_limits_remove(limit);
			*removed = 1;
		}
		return 0;
	}
	if (limit) {
		mm_limits_update(limit, mm_max, privileged);
		return 0;
	}
	ret = mm_limits_add(*fresh, privileged);
	if (ret >= 0)
		*fresh = NULL;
	if (ret > 0)
		*removed = 1;
	return ret;
}

/**
 * mm_limits_set - set, lower, raise or remove a user's limit
 * @uid:	a valid uid that is not root's
 * @mm_max:	bytes; ULONG_MAX removes the limit
 * @privileged:	whether the caller has CAP_SYS_RESOURCE
 *
 * A user that is over its new limit loses processes at once, unless the
 * allocation trigger is off.
 *
 * Context: process context, may sleep; no lock of a memory allocation.
 * Return: 0; 1 if the least recently set entry was dropped for it; -EPERM if
 * only a privileged caller may do that; -ENOSPC if the table is full and the
 * caller not privileged; -ENOMEM.
 */
int mm_limits_set(kuid_t uid, unsigned long mm_max, bool privileged)
{
	struct mm_limit *fresh, *limit;
	unsigned int removed = 0;
	int ret;

	/* Said early, so that nobody can have the branch switched to and fro. */
	if (!privileged && !mm_limits_may_set_locked(uid, mm_max))
		return -EPERM;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL);
	if (!fresh)
		return -ENOMEM;
	atomic_set(&fresh->refs, 1);
	fresh->uid = uid;
	fresh->max = mm_max;

	/*
	 * Counted before the entry can be found and after it cannot, and never
	 * under a lock: switching the branch takes locks of its own, under
	 * which memory is allocated.
	 */
	mm_limits_key_inc(&mm_limits_key);
	mutex_lock(&my_mm_limits.lock);
	ret = mm_limits_change(uid, mm_max, privileged, &fresh, &removed);
	mutex_unlock(&my_mm_limits.lock);
	if (fresh)
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
EXPORT_SYMBOL_GPL(mm_limits_set);

/**
 * mm_limits_print - write every entry to the kernel log, a line each
 *
 * Context: process context, may sleep.
 */
void mm_limits_print(void)
{
	struct mm_limit *limit;

	mutex_lock(&my_mm_limits.lock);
	list_for_each_entry(limit, &my_mm_limits.entries, list) {
		pr_info("uid=%u, mm_max=%lu\n", from_kuid(&init_user_ns, limit->uid), limit->max);
		cond_resched();
	}
	mutex_unlock(&my_mm_limits.lock);
}
EXPORT_SYMBOL_GPL(mm_limits_print);
