/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_MM_H
#define _LINUX_MM_H

#include <linux/errno.h>
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/atomic.h>
#include <linux/mm_types.h>
/* By the series. */
#include <linux/mm_limits.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define VM_EXEC 0x00000004
#define VM_SHARED 0x00000008
#define VM_PFNMAP 0x00000400
#define VM_LOCKED 0x00002000
#define VM_HUGETLB 0x00400000
struct zap_details;
extern struct vm_area_struct *find_vma(struct mm_struct *mm, unsigned long addr);
extern void zap_page_range(struct vm_area_struct *vma, unsigned long address, unsigned long size,
			   struct zap_details *details);
extern unsigned long get_mm_counter(struct mm_struct *mm, int member);

#endif
