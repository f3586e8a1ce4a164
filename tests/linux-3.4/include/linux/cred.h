/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_CRED_H
#define _LINUX_CRED_H

#include <linux/types.h>
struct task_struct;
struct cred { uid_t uid; };
/* Numbers, and no types of their own: linux/uidgid.h came with 3.5. */
#define __task_cred(task) ((task)->real_cred)
extern uid_t task_uid(struct task_struct *task);
extern uid_t current_uid(void);

#endif
