/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_RCULIST_H
#define _LINUX_RCULIST_H

#include <linux/list.h>
#include <linux/rcupdate.h>

extern void hlist_add_head_rcu(struct hlist_node *n, struct hlist_head *h);
extern void hlist_del_rcu(struct hlist_node *n);
/* With a cursor of its own: 3.9 did away with it. */
#define hlist_for_each_entry_rcu(tpos, pos, head, member) \
	for (pos = (head)->first; \
	     pos && ({ tpos = hlist_entry(pos, typeof(*tpos), member); 1; }); \
	     pos = pos->next)

#endif
