/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_CAPABILITY_H
#define _LINUX_CAPABILITY_H

#include <linux/types.h>
struct task_struct;
#define CAP_KILL 5
#define CAP_SYS_ADMIN 21
#define CAP_SYS_RESOURCE 24
extern bool capable(int cap);
extern bool has_capability_noaudit(struct task_struct *t, int cap);

#endif
