/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_RCUPDATE_H
#define _LINUX_RCUPDATE_H

#include <linux/types.h>
extern void synchronize_rcu(void);
extern void rcu_read_lock(void);
extern void rcu_read_unlock(void);
extern void kfree_call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *rcu));
#define kfree_rcu(ptr, field) \
	kfree_call_rcu(&((ptr)->field), (void (*)(struct rcu_head *)) \
		       (unsigned long)offsetof(typeof(*(ptr)), field))

#endif
