/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TYPES_H
#define _LINUX_TYPES_H

#include <linux/compiler.h>
#include <linux/stddef.h>

typedef _Bool bool;
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;
typedef unsigned int __kernel_size_t;
typedef __kernel_size_t size_t;
typedef int ssize_t;
typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned short umode_t;
typedef long long loff_t;
typedef unsigned int gfp_t;
typedef struct { int counter; } atomic_t;

struct list_head { struct list_head *next, *prev; };
struct hlist_head { struct hlist_node *first; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct rcu_head { struct rcu_head *next; void (*func)(struct rcu_head *head); };

#endif
