/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_H
#define _LINUX_MM_H

#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/atomic.h>
#include <linux/mm_types.h>
/* Of asm/pgtable.h. */
#define PTRS_PER_PTE 512
/* By the series. */
#include <linux/mm_limits.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
extern unsigned long get_mm_counter(struct mm_struct *mm, int member);
extern unsigned long get_mm_rss(struct mm_struct *mm);

#endif
