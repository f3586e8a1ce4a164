/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_GFP_H
#define _LINUX_GFP_H

#include <linux/types.h>
#define __GFP_WAIT ((gfp_t)0x10u)
#define __GFP_NOWARN ((gfp_t)0x200u)
#define __GFP_NORETRY ((gfp_t)0x1000u)
#define GFP_KERNEL (__GFP_WAIT | 0xc0u)

#endif
