/* SPDX-License-Identifier: GPL-2.0-only */
int alloc_pages(int order);
void free_pages(int order);
