/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_STRING_H
#define _LINUX_STRING_H

#include <linux/types.h>
extern void *memset(void *s, int c, size_t n);
extern void *memcpy(void *to, const void *from, size_t n);
extern int strcmp(const char *a, const char *b);
extern size_t strlen(const char *s);
extern char * __must_check skip_spaces(const char *s);
extern char *strsep(char **s, const char *ct);
extern char *strchr(const char *s, int c);
extern size_t strspn(const char *s, const char *accept);
extern char *strim(char *s);

#endif
