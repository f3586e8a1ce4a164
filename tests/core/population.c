// SPDX-License-Identifier: GPL-2.0-only
/*
 * A scan of made-up processes with the kernel's own core.c, in the order and with the steps of
 * scan.c: who is a task there is an index here.
 */
#include <stddef.h>
#include <string.h>

#include "core.h"
#include "population.h"

static unsigned long notes_of(const struct core_process *p)
{
	return (p->is_protected ? MM_LIMITS_PROTECTED : 0) | (p->is_dying ? 0 : MM_LIMITS_LIVE);
}

static void note(struct core_mm *mm, unsigned long scan, unsigned long notes)
{
	mm->scan = scan | mm_limits_notes(mm->scan, scan) | notes;
}

void core_scan(unsigned long *scan, const struct core_process *processes, int count,
	       struct core_mm *mms, unsigned int uid, unsigned long max, unsigned long now,
	       unsigned long patience, struct core_result *result)
{
	struct mm_limits_tally tally = { 0 };
	int i;

	memset(result, 0, sizeof(*result));
	result->victim = -1;
	*scan = mm_limits_next_scan(*scan);
	for (i = 0; i < count; i++)
		if (processes[i].mm >= 0)
			note(&mms[processes[i].mm], *scan, notes_of(&processes[i]));
	for (i = 0; i < count; i++) {
		const struct core_process *p = &processes[i];
		enum mm_limits_credit credit;
		unsigned long notes;
		struct core_mm *mm;

		if (p->mm < 0)
			continue;
		mm = &mms[p->mm];
		notes = mm_limits_notes(mm->scan, *scan) | notes_of(p);
		note(mm, *scan, notes | MM_LIMITS_COUNTED);
		if (notes & MM_LIMITS_COUNTED || p->uid != uid)
			continue;
		credit = mm_limits_judge_dying(&mm->dying, notes & MM_LIMITS_LIVE, now, patience);
		result->given_up += credit == MM_LIMITS_TOO_LATE;
		mm_limits_tally_add(&tally, mm->rss, credit);
		if (mm_limits_eligible(notes, mm->dying) &&
		    mm_limits_tally_weigh(&tally, p->score, mm->rss))
			result->victim = i;
	}
	result->usage = tally.usage;
	result->dying = tally.dying;
	result->is_over = mm_limits_exceeds(tally.usage, max, 12);
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

void core_mark(unsigned long usage, unsigned long dying, unsigned long max,
	       unsigned long held_back, struct core_mark *mark)
{
	const struct mm_limits_tally tally = { .usage = usage, .dying = dying };
	struct mm_limits_mark found = mm_limits_mark(&tally, max, held_back);

	mark->grow = found.grow;
	mark->shrink = found.shrink;
	mark->near = found.near;
}
