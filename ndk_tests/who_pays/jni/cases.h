/* SPDX-License-Identifier: GPL-2.0-only */
/* The situations: what each is called, what it takes, and how it is built. */
#ifndef MM_LIMITS_CASES_H
#define MM_LIMITS_CASES_H

#include <sys/types.h>

#define WHO_UIDS	2

struct who_args {
	unsigned long count;
	unsigned long size;
	uid_t uids[WHO_UIDS];
};

struct who_case {
	const char *name;
	/* What it takes, a letter each: n the count, s the size, u a uid. */
	const char *takes;
	/* How many processes the program sees end; 0: as many as the count. */
	unsigned int processes;
	/* In a process of its own, which it ends. */
	void (*play)(const struct who_args *args) __attribute__((noreturn));
};

/* Ends with an entry without a name. */
extern const struct who_case who_cases[];

/* What the case exec goes on with in the new program. */
void play_after_exec(void) __attribute__((noreturn));

#endif
