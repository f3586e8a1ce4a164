/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between kernel versions, for mm/mm_limits/ and its modules.
 *
 * Nothing else of theirs asks for a version. Each difference has one name here
 * and a comment that says which version changed it.
 */
#ifndef _LINUX_MM_LIMITS_COMPAT_H
#define _LINUX_MM_LIMITS_COMPAT_H

#include <linux/jump_label.h>
#include <linux/types.h>
#include <linux/uidgid.h>

/* 4.3: static branches replace static_key_false() on a struct static_key. */
#define MM_LIMITS_DECLARE_KEY(name)	DECLARE_STATIC_KEY_FALSE(name)
#define MM_LIMITS_DEFINE_KEY(name)	DEFINE_STATIC_KEY_FALSE(name)
#define mm_limits_key_enabled(key)	static_branch_unlikely(key)
#define mm_limits_key_inc(key)		static_branch_inc(key)
#define mm_limits_key_dec(key)		static_branch_dec(key)

/* 5.16: core_state moved here from the mm. Whether @p, which uses @mm, dumps core. */
#define mm_limits_is_dumping(p, mm)	((p)->signal->core_state)

#endif /* _LINUX_MM_LIMITS_COMPAT_H */
