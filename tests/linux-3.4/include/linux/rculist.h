/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_RCULIST_H
#define _LINUX_RCULIST_H

#include <linux/list.h>
#include <linux/rcupdate.h>

extern void list_add_tail_rcu(struct list_head *new, struct list_head *head);
extern void list_del_rcu(struct list_head *entry);
#define list_entry_rcu(ptr, type, member) container_of(ptr, type, member)
#define list_for_each_entry_rcu(pos, head, member) \
	for (pos = list_entry_rcu((head)->next, typeof(*pos), member); &pos->member != (head); \
	     pos = list_entry_rcu(pos->member.next, typeof(*pos), member))
extern void hlist_add_head_rcu(struct hlist_node *n, struct hlist_head *h);
extern void hlist_del_rcu(struct hlist_node *n);
/* With a cursor of its own: 3.9 did away with it. */
#define hlist_for_each_entry_rcu(tpos, pos, head, member) \
	for (pos = (head)->first; \
	     pos && ({ tpos = hlist_entry(pos, typeof(*tpos), member); 1; }); \
	     pos = pos->next)

#endif
