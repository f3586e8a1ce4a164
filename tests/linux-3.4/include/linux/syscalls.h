/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SYSCALLS_H
#define _LINUX_SYSCALLS_H

#include <linux/linkage.h>
#include <linux/types.h>
#define SYSCALL_DEFINE0(name) asmlinkage long sys_##name(void)
#define SYSCALL_DEFINE2(name, t1, a1, t2, a2) asmlinkage long sys_##name(t1 a1, t2 a2)

#endif
