/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_VERSION_H
#define _LINUX_VERSION_H

/* 3.4.67 */
#define LINUX_VERSION_CODE 197699
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))

#endif
