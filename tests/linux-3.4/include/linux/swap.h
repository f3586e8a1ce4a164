/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SWAP_H
#define _LINUX_SWAP_H

extern unsigned long totalram_pages;
extern long total_swap_pages;

#endif
