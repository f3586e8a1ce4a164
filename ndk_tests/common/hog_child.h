/* SPDX-License-Identifier: GPL-2.0-only */
/* What a child and its parent have agreed on. */
#ifndef MM_LIMITS_HOG_CHILD_H
#define MM_LIMITS_HOG_CHILD_H

#include "hog.h"

/* What a child writes into its own pipe, whose end of file means that it died. */
#define HOG_READY	'r'	/* it will allocate when the gate opens */
#define HOG_FINISHED	'f'	/* it holds its memory */

/* A child's exit statuses. */
#define HOG_EXIT_ENDED	0	/* it was told to end */
#define HOG_EXIT_MALLOC	3
#define HOG_EXIT_SETUP	4	/* it could not become what it is to be */

/*
 * A child, and those behind it that share its memory and that it starts. The gate
 * and the end open and end at their end of file.
 */
struct hog_family {
	const struct hog_options *options;
	const struct hog_spec *specs;
	unsigned int count;
	const int *answers;	/* what each of them writes into */
	pid_t *pids;		/* whose they are; the program sees them, too */
	int gate;
	int end;
};

/* Runs in the new child. */
void hog_child(const struct hog_family *family) __attribute__((noreturn));

#endif
