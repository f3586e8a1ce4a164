/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_HASH_H
#define _LINUX_HASH_H

#include <linux/types.h>
static inline u32 hash_32(u32 val, unsigned int bits)
{
	return val >> (32 - bits);
}

#endif
