/* SPDX-License-Identifier: GPL-2.0-only */
/* The attacks: what each is called, what it takes, and how it is done. */
#ifndef MM_LIMITS_WAYS_H
#define MM_LIMITS_WAYS_H

#include <sys/types.h>

#define WAY_COUNTS	2

struct way_args {
	uid_t uid, other;
	unsigned long counts[WAY_COUNTS];
	unsigned long size;
};

struct way {
	const char *name;
	/* What it takes, a letter each: u a uid, n a count, s a size. */
	const char *takes;
	/* Returns if all went as it should. */
	void (*attack)(const struct way_args *args);
};

/* Ends with an entry without a name. */
extern const struct way ways[];

#endif
