/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_JIFFIES_H
#define _LINUX_JIFFIES_H

#include <linux/types.h>
#define HZ 100
extern unsigned long volatile jiffies;
#define typecheck(type, x) ({ type __dummy; typeof(x) __dummy2; \
	(void)(&__dummy == &__dummy2); 1; })
#define time_after(a, b) (typecheck(unsigned long, a) && typecheck(unsigned long, b) && \
	((long)(b) - (long)(a) < 0))
#define time_before(a, b) time_after(b, a)
#define time_before_eq(a, b) (!time_after(a, b))
extern unsigned long msecs_to_jiffies(const unsigned int m);

#endif
