// SPDX-License-Identifier: GPL-2.0-only
/*
 * The body of the syscall set_mm_limits(): who may ask for what.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/mm_limits.h>
#include <linux/mm_limits_uid.h>
#include <linux/module.h>
#include <linux/ratelimit.h>

/* The list of entries may be long, and an unprivileged caller may loop. */
static DEFINE_RATELIMIT_STATE(print_state, 5 * HZ, 3);

/*
 * Sets, updates or removes (@mm_max ULONG_MAX) the limit of a user, in bytes.
 *
 * Returns 0; 1 if the least recently set entry had to be dropped; -EINVAL for
 * root, uid -1 or less than a page; and what mm_limits_set() returns.
 */
static long set_mm_limits(uid_t uid, unsigned long mm_max)
{
	kuid_t kuid = make_kuid(current_user_ns(), uid);
	bool privileged;
	int ret;

	if (!uid || !uid_valid(kuid) || uid_eq(kuid, GLOBAL_ROOT_UID) || mm_max < PAGE_SIZE)
		return -EINVAL;
	privileged = capable(CAP_SYS_RESOURCE);
	ret = mm_limits_set(kuid, mm_max, privileged);
	mm_limits_ratelimit_quietly(&print_state);
	if (ret >= 0 && (privileged || __ratelimit(&print_state)))
		mm_limits_print();
	return ret;
}

static const struct mm_limits_provider provider = {
	.set_mm_limits = set_mm_limits,
};

static int __init set_mm_limits_init(void)
{
	return mm_limits_register_provider(&provider);
}
module_init(set_mm_limits_init);

static void __exit set_mm_limits_exit(void)
{
	mm_limits_unregister_provider(&provider);
}
module_exit(set_mm_limits_exit);

MODULE_DESCRIPTION("Sets a user's limit on resident memory");
MODULE_LICENSE("GPL");
