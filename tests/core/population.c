// SPDX-License-Identifier: GPL-2.0-only
/*
 * A look at made-up processes with the kernel's own core.c, with the steps of look.c: what is a
 * task there is an index here. The later processes are the younger ones.
 */
#include <stddef.h>
#include <string.h>

#include "core.h"
#include "population.h"

/* What look.c sees of an mm. */
struct view {
	int owner;
	_Bool live;
	_Bool is_protected;
};

static struct view view_of(int mm, const struct core_process *processes, int count)
{
	struct view view = { .owner = -1 };
	int i;

	for (i = 0; i < count; i++) {
		if (processes[i].mm != mm)
			continue;
		if (view.owner < 0)
			view.owner = i;
		view.live |= !processes[i].is_dying;
		view.is_protected |= processes[i].is_protected;
	}
	return view;
}

void core_look(const struct core_process *processes, int count, struct core_mm *mms, int mm_count,
	       const struct core_limit *limit, struct core_result *result)
{
	struct mm_limits_tally tally = { 0 };
	int i;

	memset(result, 0, sizeof(*result));
	result->victim = -1;
	for (i = 0; i < mm_count; i++) {
		struct view view = view_of(i, processes, count);
		enum mm_limits_credit credit;

		if (view.owner < 0 || processes[view.owner].uid != limit->uid)
			continue;
		credit = mm_limits_judge_dying(&mms[i].dying, view.live, limit->now,
					       limit->patience);
		result->given_up += credit == MM_LIMITS_TOO_LATE;
		mm_limits_tally_add(&tally, mms[i].rss, credit);
		if (mm_limits_eligible(view.is_protected, mms[i].dying) &&
		    mm_limits_tally_weigh(&tally, processes[view.owner].score, mms[i].rss,
					  view.owner))
			result->victim = view.owner;
	}
	result->usage = tally.usage;
	result->dying = tally.dying;
	result->is_over = mm_limits_exceeds(tally.usage, limit->max, 12);
}

long long core_badness(unsigned long rss, unsigned long swap, unsigned long pgtables, _Bool admin,
		       int adj, unsigned long total)
{
	const struct mm_limits_points points = {
		.rss = rss,
		.swap = swap,
		.pgtables = pgtables,
		.admin = admin,
		.adj = adj,
		.total = total,
	};

	return mm_limits_score_badness(&points);
}

_Bool core_exceeds(unsigned long pages, unsigned long max, unsigned int page_shift)
{
	return mm_limits_exceeds(pages, max, page_shift);
}

void core_mark(unsigned long usage, unsigned long dying, unsigned long max, unsigned long reserve,
	       long held_back, struct core_mark *mark)
{
	const struct mm_limits_tally tally = { .usage = usage, .dying = dying };
	long counted = usage + dying - held_back;
	struct mm_limits_mark found = mm_limits_mark(&tally, max, reserve, held_back, counted);

	mark->at = found.at;
	mark->low = found.low;
	mark->near = found.near;
}
