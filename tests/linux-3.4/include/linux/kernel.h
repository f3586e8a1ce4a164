/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_KERNEL_H
#define _LINUX_KERNEL_H

#include <linux/compiler.h>
#include <linux/linkage.h>
#include <linux/printk.h>
#include <linux/stddef.h>
#include <linux/types.h>

#define ULONG_MAX (~0UL)
#define LONG_MAX ((long)(~0UL >> 1))
#define BUILD_BUG_ON(condition) ((void)sizeof(char[1 - 2 * !!(condition)]))
#define ARRAY_SIZE(arr) (sizeof(arr) / sizeof((arr)[0]))
#define container_of(ptr, type, member) ({ \
	const typeof(((type *)0)->member) *__mptr = (ptr); \
	(type *)((char *)__mptr - offsetof(type, member)); })
/* As there, these refuse to compare different types. */
#define min(x, y) ({ typeof(x) _min1 = (x); typeof(y) _min2 = (y); \
	(void)(&_min1 == &_min2); _min1 < _min2 ? _min1 : _min2; })
#define min3(x, y, z)	min((typeof(x))min(x, y), z)
#define max(x, y) ({ typeof(x) _max1 = (x); typeof(y) _max2 = (y); \
	(void)(&_max1 == &_max2); _max1 > _max2 ? _max1 : _max2; })

extern int __must_check kstrtouint(const char *s, unsigned int base, unsigned int *res);
static inline int __must_check kstrtoul(const char *s, unsigned int base, unsigned long *res)
{
	return kstrtouint(s, base, (unsigned int *)res);
}
extern __printf(2, 3) int sprintf(char *buf, const char *fmt, ...);
extern __printf(3, 4) int snprintf(char *buf, size_t size, const char *fmt, ...);

#endif
