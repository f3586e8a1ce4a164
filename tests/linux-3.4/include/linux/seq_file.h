/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SEQ_FILE_H
#define _LINUX_SEQ_FILE_H

#include <linux/compiler.h>
#include <linux/mutex.h>
#include <linux/types.h>
struct file;
struct inode;
struct seq_file;
#define SEQ_START_TOKEN ((void *)1)
struct seq_operations {
	void *(*start)(struct seq_file *m, loff_t *pos);
	void (*stop)(struct seq_file *m, void *v);
	void *(*next)(struct seq_file *m, void *v, loff_t *pos);
	int (*show)(struct seq_file *m, void *v);
};
extern int seq_open(struct file *, const struct seq_operations *);
extern ssize_t seq_read(struct file *, char __user *, size_t, loff_t *);
extern loff_t seq_lseek(struct file *, loff_t, int);
extern int seq_release(struct inode *, struct file *);
extern int seq_puts(struct seq_file *m, const char *s);
extern __printf(2, 3) int seq_printf(struct seq_file *, const char *, ...);

#endif
