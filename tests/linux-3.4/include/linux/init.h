/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_INIT_H
#define _LINUX_INIT_H

#include <linux/compiler.h>
#define __init
#define __exit
typedef int (*initcall_t)(void);
#define core_initcall(fn) initcall_t __initcall_##fn __used = fn
#define late_initcall(fn) initcall_t __initcall_##fn __used = fn

#endif
