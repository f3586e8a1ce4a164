/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_KCONFIG_H
#define _LINUX_KCONFIG_H

/* What a goldfish build with the fragment has. */
#define __KERNEL__ 1
#define CONFIG_ARM 1
#define CONFIG_SMP 1
#define CONFIG_PREEMPT 1
#define CONFIG_MMU 1
#define CONFIG_MODULES 1
#define CONFIG_SWAP 1
#define CONFIG_PROC_FS 1
#define CONFIG_SYSCTL 1
#ifndef WITHOUT_MM_LIMITS
#define CONFIG_MM_LIMITS 1
#define CONFIG_MM_LIMITS_SLOTS 10
#define CONFIG_MM_LIMITS_DEFAULT_POLICY "rss"
#endif

#endif
