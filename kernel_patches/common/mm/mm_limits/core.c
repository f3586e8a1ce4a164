// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is eligible, what is credited, who is chosen: see core.h.
 *
 * Only linux/types.h is needed, so that the host can compile it.
 */
#include "core.h"

/*
 * What a user above its limit may grow by until somebody looks again: while a
 * victim is dying, and where nothing is to be done about it.
 */
#define MM_LIMITS_STEP_DYING	8
#define MM_LIMITS_STEP_OVER	64

/* What stock kernels before 4.17 gave CAP_SYS_ADMIN, in percent of all memory. */
#define MM_LIMITS_ADMIN_BONUS	3

/**
 * mm_limits_exceeds - whether a sum is over a limit
 * @pages:	the sum
 * @max:	the limit in bytes; ULONG_MAX is none
 * @page_shift:	the size of a page as a power of two
 *
 * Return: exactly what a comparison in bytes would say, without overflow.
 */
bool mm_limits_exceeds(unsigned long pages, unsigned long max, unsigned int page_shift)
{
	return max != ~0UL && pages > max >> page_shift;
}

/**
 * mm_limits_judge_dying - whether to go on as if the memory of an mm were free
 * @dying:	since when it has been dying; brought up to date
 * @live:	whether somebody who is not dying uses it
 * @now:	the time, which may wrap
 * @patience:	how long dying may take
 *
 * Once sent a SIGKILL (a time in @dying), or without a living user, it is, for
 * @patience and no longer.
 */
enum mm_limits_credit mm_limits_judge_dying(unsigned long *dying, bool live, unsigned long now,
					    unsigned long patience)
{
	if (!*dying) {
		if (live)
			return MM_LIMITS_IN_USE;
		*dying = now | MM_LIMITS_STAMPED;
	}
	if (*dying == MM_LIMITS_GIVEN_UP)
		return MM_LIMITS_IN_USE;
	if ((long)(now - (*dying + patience)) < 0)
		return MM_LIMITS_CREDITED;
	*dying = MM_LIMITS_GIVEN_UP;
	return MM_LIMITS_TOO_LATE;
}

/**
 * mm_limits_eligible - whether the owner of an mm may be a victim
 * @is_protected:	whether killing one of its users is forbidden, or frees nothing
 * @dying:		as in mm_limits_judge_dying(), after it
 *
 * Who has been sent SIGKILL once is no victim again, also if it was given up on.
 */
bool mm_limits_eligible(bool is_protected, unsigned long dying)
{
	return !is_protected && !dying;
}

static unsigned long mm_limits_sum(unsigned long left, unsigned long right)
{
	return left + right < left ? ~0UL : left + right;
}

/**
 * mm_limits_total - all that a user has
 * @tally:	the user's
 *
 * Return: resident pages, also of what is dying.
 */
unsigned long mm_limits_total(const struct mm_limits_tally *tally)
{
	return mm_limits_sum(tally->usage, tally->dying);
}

/**
 * mm_limits_tally_add - count one mm
 * @tally:	its owner's
 * @rss:	its resident pages
 * @credit:	from mm_limits_judge_dying()
 *
 * Sums stay at the largest number instead of beginning again: pages that are
 * shared between processes count repeatedly, and there can be very many.
 */
void mm_limits_tally_add(struct mm_limits_tally *tally, unsigned long rss,
			 enum mm_limits_credit credit)
{
	if (credit == MM_LIMITS_CREDITED)
		tally->dying = mm_limits_sum(tally->dying, rss);
	else
		tally->usage = mm_limits_sum(tally->usage, rss);
}

/**
 * mm_limits_tally_weigh - compare an eligible process with the best so far
 * @tally:	the user's
 * @score:	what the policy gives the process
 * @rss:	its resident pages
 * @start:	when it was started
 *
 * Equal scores are decided by the larger RSS, then for the younger process.
 *
 * Return: whether it is the victim now.
 */
bool mm_limits_tally_weigh(struct mm_limits_tally *tally, s64 score, unsigned long rss,
			   s64 start)
{
	if (tally->found) {
		if (score != tally->score ? score < tally->score :
		    rss != tally->rss ? rss < tally->rss : start < tally->start)
			return false;
	}
	tally->found = true;
	tally->score = score;
	tally->rss = rss;
	tally->start = start;
	return true;
}

static long mm_limits_clamp(unsigned long pages)
{
	const unsigned long most = ~0UL >> 2;

	return pages < most ? pages : most;
}

/**
 * mm_limits_mark - how far a user may go until it is looked at again
 * @tally:	what it has
 * @max:	its limit in pages
 * @reserve:	what its threads can hold back at most, in pages
 * @held_back:	what they do hold back
 * @counted:	what the counters say
 *
 * Far from its limit, until it may have reached it if all threads hold back all that
 * they can. Near it they hold back nothing new, and what they did is known. So a user
 * that does not grow is left alone.
 *
 * Above it, until it has grown some more, or shrunk to what is allowed, with what is
 * held back.
 */
struct mm_limits_mark mm_limits_mark(const struct mm_limits_tally *tally, unsigned long max,
				     unsigned long reserve, long held_back, long counted)
{
	unsigned long sum = mm_limits_total(tally);
	struct mm_limits_mark mark = { .near = true };

	if (sum > max) {
		/* What is dying leaves no more room than there is to the limit. */
		if (tally->usage > max)
			mark.at = counted + MM_LIMITS_STEP_OVER;
		else if (max - tally->usage < MM_LIMITS_STEP_DYING)
			mark.at = counted + (long)(max - tally->usage);
		else
			mark.at = counted + MM_LIMITS_STEP_DYING;
		/* Never what there is now, or it would be looked at without end. */
		mark.low = mm_limits_clamp(max) - held_back;
		if (mark.low >= counted)
			mark.low = counted - 1;
	} else if (max - sum >= reserve + reserve / 4) {
		mark.near = false;
		mark.at = mm_limits_clamp(max);
		mark.low = MM_LIMITS_NEVER;
	} else {
		mark.at = mm_limits_clamp(max) - held_back;
		/* Some way off: to and fro across it costs a look at each of its tasks. */
		mark.low = max / 4 > reserve ? mm_limits_clamp(max - 4 * reserve) :
					       MM_LIMITS_NEVER;
	}
	return mark;
}

/**
 * mm_limits_score_badness - the stock OOM killer's measure
 * @points:	what it is made of
 *
 * Return: in pages, all memory that the process's death would free, a bonus
 * for administrators, and oom_score_adj thousandths of all memory.
 */
s64 mm_limits_score_badness(const struct mm_limits_points *points)
{
	s64 badness = (s64)points->rss + points->swap + points->pgtables;

	if (points->admin)
		badness -= (s64)(points->total / 100) * MM_LIMITS_ADMIN_BONUS;
	return badness + (s64)(points->total / 1000) * points->adj;
}
