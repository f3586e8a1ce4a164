/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MODULE_H
#define _LINUX_MODULE_H

#include <linux/export.h>
#include <linux/init.h>
#include <linux/moduleparam.h>
struct module;
#define THIS_MODULE ((struct module *)0)
#define MODULE_LICENSE(text) extern const char __license[sizeof(text)]
#define MODULE_DESCRIPTION(text) extern const char __description[sizeof(text)]
#define module_init(fn) int init_module(void); int init_module(void) { return fn(); }
#define module_exit(fn) void cleanup_module(void); void cleanup_module(void) { fn(); }

#endif
