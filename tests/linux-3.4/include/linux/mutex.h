/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MUTEX_H
#define _LINUX_MUTEX_H

#include <linux/compiler.h>
#include <linux/list.h>
struct mutex { int count; struct list_head wait_list; };
#define __MUTEX_INITIALIZER(name) { 1, LIST_HEAD_INIT(name.wait_list) }
#define DEFINE_MUTEX(name) struct mutex name = __MUTEX_INITIALIZER(name)
extern void mutex_init(struct mutex *lock);
extern void mutex_lock(struct mutex *lock);
extern int mutex_trylock(struct mutex *lock);
extern void mutex_unlock(struct mutex *lock);
extern int __must_check mutex_lock_killable(struct mutex *lock);

#endif
