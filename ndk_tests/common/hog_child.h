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
#define HOG_EXIT_SETUP	4	/* its name or its oom_score_adj could not be set */

/* A child's ends of its pipes. The last two open and end at their end of file. */
struct hog_pipes {
	int answer;
	int gate;
	int end;
};

void hog_child(const struct hog_spec *spec, const struct hog_pipes *pipes)
	__attribute__((noreturn));

#endif
