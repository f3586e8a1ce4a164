/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_JUMP_LABEL_H
#define _LINUX_JUMP_LABEL_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <linux/atomic.h>
struct static_key { atomic_t enabled; };
#define STATIC_KEY_INIT_FALSE ((struct static_key) { .enabled = { 0 } })
extern bool static_key_false(struct static_key *key);
extern void static_key_slow_inc(struct static_key *key);
extern void static_key_slow_dec(struct static_key *key);

#endif
