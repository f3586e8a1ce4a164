/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MODULEPARAM_H
#define _LINUX_MODULEPARAM_H

#include <linux/kernel.h>
#include <linux/types.h>
struct kernel_param;
struct kernel_param_ops {
	int (*set)(const char *val, const struct kernel_param *kp);
	int (*get)(char *buffer, const struct kernel_param *kp);
	void (*free)(void *arg);
};
struct kparam_string { unsigned int maxlen; char *string; };
struct kernel_param {
	const char *name;
	const struct kernel_param_ops *ops;
	unsigned short perm;
	short level;
	union {
		void *arg;
		const struct kparam_string *str;
	};
};
extern int param_get_string(char *buffer, const struct kernel_param *kp);
extern struct kernel_param_ops param_ops_charp;
extern void __kernel_param_lock(void);
extern void __kernel_param_unlock(void);
#define kparam_block_sysfs_write(name) \
	do { (void)__param_##name.perm; __kernel_param_lock(); } while (0)
#define kparam_unblock_sysfs_write(name) \
	do { (void)__param_##name.perm; __kernel_param_unlock(); } while (0)
#define module_param_cb(name, ops, arg, perm) \
	static const struct kernel_param __param_##name __used = { #name, ops, perm, -1, { arg } }
#define module_param(name, type, perm) \
	static const struct kernel_param __param_##name __used = \
		{ #name, &param_ops_##type, perm, -1, { &(name) } }
#define MODULE_PARM_DESC(parm, desc) extern const char __desc_##parm[sizeof(desc)]

#endif
