// SPDX-License-Identifier: GPL-2.0-only
#include <linux/mm.h>

static int pages = 1;

/*
 * One allocation.
 */
int alloc_pages(int order)
{
	int taken = pages << order;

	pages += taken;
	return taken;
}

/*
 * One release.
 */
void free_pages(int order)
{
	pages -= 1 << order;
}
