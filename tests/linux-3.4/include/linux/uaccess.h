/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_UACCESS_H
#define _LINUX_UACCESS_H

#include <linux/types.h>
extern unsigned long __must_check copy_from_user(void *to, const void __user *from,
						 unsigned long n);

#endif
