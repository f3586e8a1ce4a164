/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SIGNAL_H
#define _LINUX_SIGNAL_H

#include <linux/types.h>
struct siginfo;
struct task_struct;
#define SIGKILL 9
extern int do_send_sig_info(int sig, struct siginfo *info, struct task_struct *p, bool group);

#endif
