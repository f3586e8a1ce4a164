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
#include <linux/ratelimit.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

/* How much a user can have the kernel say that nobody has to die for. */
#define MM_LIMITS_SAYS			10
#define MM_LIMITS_SAYS_INTERVAL		(5 * HZ)

/* As many buckets as slots, within reason: a look-up is one short chain. */
#define MM_LIMITS_HASH_BITS				\
	(CONFIG_MM_LIMITS_SLOTS <= 16 ? 4 :		\
	 CONFIG_MM_LIMITS_SLOTS <= 256 ? 8 : 12)

/* The entries by uid; readers hold rcu_read_lock(). */
static struct hlist_head mm_limits_hash[1 << MM_LIMITS_HASH_BITS];

/* On while any limit is set. */
MM_LIMITS_DEFINE_KEY(mm_limits_key);

static struct hlist_head *mm_limits_chain(kuid_t uid)
{
	return &mm_limits_hash[hash_32(__kuid_val(uid), MM_LIMITS_HASH_BITS)];
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

static unsigned int *mm_limits_counter(const struct mm_limit *limit)
{
	return limit->adopted ? &my_mm_limits.adopted : &my_mm_limits.count;
}

static void mm_limits_insert(struct mm_limit *limit)
{
	hlist_add_head_rcu(&limit->hash, mm_limits_chain(limit->uid));
	list_add_tail(&limit->list, &my_mm_limits.entries);
	++*mm_limits_counter(limit);
	mm_limits_spread_news();
}

static void mm_limits_remove(struct mm_limit *limit)
{
	hlist_del_rcu(&limit->hash);
	list_del(&limit->list);
	--*mm_limits_counter(limit);
	/* Whoever still holds it finds that nothing exceeds it any more. */
	WRITE_ONCE(limit->max, ULONG_MAX);
	WRITE_ONCE(limit->near, false);
	mm_limits_put(limit);
}

/* Puts what @set gives into an entry that is new, or that mm_limits_mutex holds still. */
static void mm_limits_take_over(struct mm_limit *limit, const struct mm_limits_settings *set)
{
	if (set->given & MM_LIMITS_MAX)
		WRITE_ONCE(limit->max, set->max);
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
	/* Nobody knows what counts for it before the next scan. */
	WRITE_ONCE(limit->anew, true);
}

/* Who may not evict may not decide either who is evicted next. */
static void mm_limits_update(struct mm_limit *limit, const struct mm_limits_settings *set,
			     bool privileged)
{
	mutex_lock(&mm_limits_mutex);
	mm_limits_take_over(limit, set);
	mutex_unlock(&mm_limits_mutex);
	if (privileged)
		list_move_tail(&limit->list, &my_mm_limits.entries);
}

static struct mm_limit *mm_limits_alloc_entry(kuid_t uid, const struct mm_limits_settings *set,
					      gfp_t gfp)
{
	struct mm_limit *limit = kzalloc(sizeof(*limit), gfp);

	if (!limit)
		return NULL;
	atomic_set(&limit->refs, 1);
	limit->uid = uid;
	limit->low = LONG_MAX / 2;
	ratelimit_state_init(&limit->says, MM_LIMITS_SAYS_INTERVAL, MM_LIMITS_SAYS);
	mm_limits_ratelimit_quietly(&limit->says);
	INIT_WORK(&limit->look, mm_limits_look);
	INIT_DELAYED_WORK(&limit->grace_end, mm_limits_grace_ended);
	mm_limits_take_over(limit, set);
	return limit;
}

/*
 * The ranges, disjoint, under my_mm_limits.lock; the first ones are in use. An
 * allocation looks without the lock whether it is worth taking.
 */
#define MM_LIMITS_RANGES	8

static struct mm_limits_range mm_limits_ranges[MM_LIMITS_RANGES];
static unsigned int mm_limits_range_count;

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

	if (!uid_eq(uid, current_uid()) || mm_max == ULONG_MAX)
		return false;
	limit = mm_limits_find(uid);
	if (limit)
		return mm_max <= limit->max;
	range = mm_limits_find_range(__kuid_val(uid));
	return !range || mm_max <= range->set.max;
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
	list_for_each_entry(oldest, &my_mm_limits.entries, list)
		if (!oldest->adopted)
			break;
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
 * What a range gives @uid, whose entry @limit may be the range's, stays its own
 * when it lowers its limit: all but that. With the lock held.
 */
static int mm_limits_lower(kuid_t uid, struct mm_limit *limit, const struct mm_limits_settings *set,
			   struct mm_limit **fresh)
{
	const struct mm_limits_range *range = mm_limits_find_range(__kuid_val(uid));
	int ret;

	if (limit && my_mm_limits.count >= CONFIG_MM_LIMITS_SLOTS)
		return -ENOSPC;
	if (limit) {
		my_mm_limits.adopted--;
		my_mm_limits.count++;
		limit->adopted = false;
		mm_limits_update(limit, set, true);
		kfree(*fresh);
		*fresh = NULL;
		return 0;
	}
	if (range) {
		mm_limits_take_over(*fresh, &range->set);
		mm_limits_take_over(*fresh, set);
	}
	ret = mm_limits_add(*fresh, false);
	if (ret >= 0)
		*fresh = NULL;
	return ret;
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
	if ((!limit || limit->adopted) && !(set->given & MM_LIMITS_MAX))
		return -ENOENT;
	if (!privileged && (!limit || limit->adopted))
		return mm_limits_lower(uid, limit, set, fresh);
	if (limit && limit->adopted) {
		/* It gets an entry of its own, or, without one, the range's again. */
		mm_limits_remove(limit);
		limit = NULL;
	}
	if (set->given & MM_LIMITS_MAX && set->max == ULONG_MAX) {
		if (limit) {
			mm_limits_remove(limit);
			*removed = 1;
		}
		return 0;
	}
	if (limit) {
		mm_limits_update(limit, set, privileged);
		return 0;
	}
	ret = mm_limits_add(*fresh, true);
	if (ret >= 0)
		*fresh = NULL;
	if (ret > 0)
		*removed = 1;
	return ret;
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
	struct mm_limit *fresh, *limit;
	unsigned int removed = 0;
	int ret;

	/* Said early, so that nobody can have the branch switched to and fro. */
	if (!privileged && !mm_limits_may_set_locked(uid, set->max))
		return -EPERM;

	fresh = mm_limits_alloc_entry(uid, set, GFP_KERNEL);
	if (!fresh)
		return -ENOMEM;

	/*
	 * Counted before the entry can be found and after it cannot, and never
	 * under a lock: switching the branch takes locks of its own, under
	 * which memory is allocated.
	 */
	mm_limits_key_inc(&mm_limits_key);
	mutex_lock(&my_mm_limits.lock);
	ret = mm_limits_change(uid, set, privileged, &fresh, &removed);
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
 * Users come and go: those of whom nothing is left are let go of when the number
 * has doubled, so that each costs its share of one scan. With the lock held.
 */
static void mm_limits_sweep(void)
{
	static unsigned int most = 64;
	struct mm_limit *limit, *next;

	if (my_mm_limits.adopted < most || !mutex_trylock(&mm_limits_mutex))
		return;
	mm_limits_scan_all();
	mutex_unlock(&mm_limits_mutex);
	list_for_each_entry_safe(limit, next, &my_mm_limits.entries, list)
		if (limit->adopted && !limit->tally.usage && !limit->tally.dying)
			mm_limits_remove(limit);
	most = max(64U, 2 * my_mm_limits.adopted);
}

/**
 * mm_limits_adopt - give a user the limit of the range that it is in
 * @uid:	has none of its own
 *
 * Where the lock is taken, perhaps by this very task, or no memory is at hand,
 * the user's next allocation tries again.
 *
 * Context: process context.
 * Return: the user's entry with a reference, or NULL.
 */
struct mm_limit *mm_limits_adopt(kuid_t uid)
{
	const struct mm_limits_range *range;
	struct mm_limit *limit = NULL;

	if (!mm_limits_in_range(uid) || !mutex_trylock(&my_mm_limits.lock))
		return NULL;
	range = mm_limits_find_range(__kuid_val(uid));
	if (range && !mm_limits_find(uid))
		limit = mm_limits_alloc_entry(uid, &range->set, GFP_NOWAIT | __GFP_NOWARN);
	if (limit) {
		limit->adopted = true;
		atomic_inc(&limit->refs);
		mm_limits_insert(limit);
		mm_limits_sweep();
	}
	mutex_unlock(&my_mm_limits.lock);
	return limit;
}

/* Users of a range that has changed are adopted anew. */
static void mm_limits_disown(uid_t first, uid_t last)
{
	struct mm_limit *limit, *next;

	list_for_each_entry_safe(limit, next, &my_mm_limits.entries, list)
		if (limit->adopted && __kuid_val(limit->uid) >= first &&
		    __kuid_val(limit->uid) <= last)
			mm_limits_remove(limit);
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
	}
	WRITE_ONCE(mm_limits_range_count, mm_limits_range_count + *change);
	mm_limits_spread_news();
	mm_limits_disown(first, last);
	return 0;
}

/**
 * mm_limits_apply_range - set or remove the limit of users that have none of their own
 * @first:	their first uid, not root's
 * @last:	their last
 * @set:	what each of them gets; MM_LIMITS_MAX must be given
 *
 * A user gets its entry, which takes no slot, when it next allocates.
 *
 * Context: process context, may sleep; no lock of a memory allocation.
 * Return: 0; -EBUSY if the range cuts another one; -ENOSPC if there are too
 * many.
 */
int mm_limits_apply_range(uid_t first, uid_t last, const struct mm_limits_settings *set)
{
	int change = 0;
	int ret;

	/* As in mm_limits_apply(): counted before, and not under the lock. */
	mm_limits_key_inc(&mm_limits_key);
	mutex_lock(&my_mm_limits.lock);
	ret = mm_limits_change_range(first, last, set, &change);
	mutex_unlock(&my_mm_limits.lock);
	if (change < 1)
		mm_limits_key_dec(&mm_limits_key);
	if (change < 0)
		mm_limits_key_dec(&mm_limits_key);
	return ret;
}

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
		if (limit->adopted)
			continue;
		pr_info("uid=%u, mm_max=%lu\n", from_kuid(&init_user_ns, limit->uid), limit->max);
		cond_resched();
	}
	mutex_unlock(&my_mm_limits.lock);
}
EXPORT_SYMBOL_GPL(mm_limits_print);
