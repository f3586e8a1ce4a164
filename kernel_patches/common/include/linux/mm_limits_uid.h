/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The names of <linux/uidgid.h>, for kernels before 3.5: for our own files,
 * and not by way of <linux/mm.h>, because others have brought these names to
 * old kernels, too (Android's net/core/fib_rules.c).
 */
#ifndef _LINUX_MM_LIMITS_UID_H
#define _LINUX_MM_LIMITS_UID_H

#include <linux/mm_limits_compat.h>

#ifdef MM_LIMITS_UIDS_ARE_NUMBERS
#define GLOBAL_ROOT_UID			0
#define __kuid_val(uid)			(uid)
#define uid_eq(left, right)		((left) == (right))
#define uid_valid(uid)			((uid) != (uid_t)-1)
#define make_kuid(ns, uid)		(uid)
#define from_kuid(ns, kuid)		(kuid)
#define from_kuid_munged(ns, kuid)	(kuid)
#endif

#endif /* _LINUX_MM_LIMITS_UID_H */
