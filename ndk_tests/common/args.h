/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading arguments. Each function returns whether @text is, from its first to
 * its last character, what it should be; only then is the value set. None of
 * them prints anything.
 */
#ifndef MM_LIMITS_ARGS_H
#define MM_LIMITS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Decimal digits, at most ULONG_MAX. */
bool parse_ulong(const char *text, unsigned long *value);

/* As parse_ulong(), and at most @most. */
bool parse_ulong_upto(const char *text, unsigned long most, unsigned long *value);

/* An oom_score_adj: -1000 to 1000. */
bool parse_adj(const char *text, int *adj);

/* Seconds with at most three decimals ("2", "0.25"); up to a day. */
bool parse_seconds(const char *text, unsigned long *milliseconds);

/* A uid (4294967295 too: it is the kernel that should refuse it) or a name. */
bool parse_user(const char *text, uid_t *uid);

/* Letters, digits and "._:+-", 1 to 64 of them. */
bool parse_marker(const char *text);

/*
 * A process name with the escapes \n, \t, \\ and \xHH, into @name of @size
 * bytes. Neither NUL nor more than @size - 1 bytes: the kernel would cut it.
 */
bool parse_comm(const char *text, char *name, size_t size);

#endif
