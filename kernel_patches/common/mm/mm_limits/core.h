/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Eligibility, credit, scores, choice and marks, on plain numbers.
 *
 * Nothing here knows a task or takes a lock, so that the same code is compiled
 * for the host and compared with a model there (tests/core/).
 */
#ifndef _MM_LIMITS_CORE_H
#define _MM_LIMITS_CORE_H

#include <linux/types.h>

/* No sum gets down to it. */
#define MM_LIMITS_NEVER		(-(long)(~0UL >> 1))

/* Since when an mm has been dying: 0, a time, or this. */
#define MM_LIMITS_GIVEN_UP	1UL
/* Set in every time stamp, which is then neither 0 nor MM_LIMITS_GIVEN_UP. */
#define MM_LIMITS_STAMPED	2UL

/* Whether the memory of an mm is as good as free. */
enum mm_limits_credit {
	MM_LIMITS_IN_USE,	/* no, somebody lives on in it, or was given up on */
	MM_LIMITS_CREDITED,	/* yes, all its users are dying */
	MM_LIMITS_TOO_LATE,	/* no, and that has just been found out */
};

/**
 * struct mm_limits_tally - a user's memory, and the best victim so far
 * @usage:	resident pages of what is not dying
 * @dying:	resident pages of what is
 * @found:	whether there is a victim
 * @score:	the victim's
 * @rss:	the victim's resident pages
 * @start:	when the victim was started
 */
struct mm_limits_tally {
	unsigned long usage;
	unsigned long dying;
	bool found;
	s64 score;
	unsigned long rss;
	s64 start;
};

/**
 * struct mm_limits_mark - how far a user may go until it is looked at again
 * @at:		pages above which it is looked at
 * @low:	pages down to which it is looked at
 * @near:	whether its threads must not hold pages back meanwhile
 */
struct mm_limits_mark {
	long at;
	long low;
	bool near;
};

/**
 * struct mm_limits_points - what the stock measure of badness is made of
 * @rss:	resident pages of the process's mm
 * @swap:	pages of it that are swapped out
 * @pgtables:	pages of its page tables
 * @admin:	whether it has CAP_SYS_ADMIN
 * @adj:	its oom_score_adj
 * @total:	pages of memory and swap that the machine has
 */
struct mm_limits_points {
	unsigned long rss;
	unsigned long swap;
	unsigned long pgtables;
	bool admin;
	int adj;
	unsigned long total;
};

bool mm_limits_exceeds(unsigned long pages, unsigned long max, unsigned int page_shift);
enum mm_limits_credit mm_limits_judge_dying(unsigned long *dying, bool live, unsigned long now,
					    unsigned long patience);
bool mm_limits_eligible(bool is_protected, unsigned long dying);
unsigned long mm_limits_total(const struct mm_limits_tally *tally);
void mm_limits_tally_add(struct mm_limits_tally *tally, unsigned long rss,
			 enum mm_limits_credit credit);
bool mm_limits_tally_weigh(struct mm_limits_tally *tally, s64 score, unsigned long rss,
			   s64 start);
struct mm_limits_mark mm_limits_mark(const struct mm_limits_tally *tally, unsigned long max,
				     unsigned long reserve, long held_back, long counted);
s64 mm_limits_score_badness(const struct mm_limits_points *points);

#endif /* _MM_LIMITS_CORE_H */
