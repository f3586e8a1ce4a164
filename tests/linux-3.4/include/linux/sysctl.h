/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SYSCTL_H
#define _LINUX_SYSCTL_H

#include <linux/compiler.h>
#include <linux/types.h>
struct ctl_table;
struct ctl_table_header;
typedef struct ctl_table ctl_table;
typedef int proc_handler(struct ctl_table *ctl, int write, void __user *buffer, size_t *lenp,
			 loff_t *ppos);
extern int proc_dostring(struct ctl_table *, int, void __user *, size_t *, loff_t *);
struct ctl_table {
	const char *procname;
	void *data;
	int maxlen;
	umode_t mode;
	struct ctl_table *child;
	proc_handler *proc_handler;
};
struct ctl_table_header *register_sysctl(const char *path, struct ctl_table *table);

#endif
