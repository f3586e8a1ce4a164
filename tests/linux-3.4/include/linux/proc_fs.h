/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_PROC_FS_H
#define _LINUX_PROC_FS_H

#include <linux/errno.h>
#include <linux/fs.h>
struct proc_dir_entry;
extern struct proc_dir_entry *proc_create(const char *name, umode_t mode,
					  struct proc_dir_entry *parent,
					  const struct file_operations *proc_fops);

#endif
