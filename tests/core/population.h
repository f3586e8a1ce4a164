/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test hands to a look, and gets back. No #include and no #define: cffi reads this, too. */

struct core_mm {
	unsigned long rss;	/* pages */
	unsigned long dying;	/* as in mm_struct */
};

struct core_process {
	unsigned int uid;
	int mm;			/* an index; -1: none left */
	_Bool is_protected;
	_Bool is_dying;
	long long score;
};

struct core_limit {
	unsigned int uid;
	unsigned long max;	/* bytes */
	unsigned long now;
	unsigned long patience;
};

struct core_result {
	unsigned long usage;
	unsigned long dying;
	int victim;		/* an index; -1: nobody */
	int given_up;		/* how many were given up on in this look */
	_Bool is_over;
};

struct core_mark {
	long at;
	long low;
	_Bool near;
};

void core_look(const struct core_process *processes, int count, struct core_mm *mms, int mm_count,
	       const struct core_limit *limit, struct core_result *result);
long long core_badness(unsigned long rss, unsigned long swap, unsigned long pgtables, _Bool admin,
		       int adj, unsigned long total);
_Bool core_exceeds(unsigned long pages, unsigned long max, unsigned int page_shift);
void core_mark(unsigned long usage, unsigned long dying, unsigned long max, unsigned long reserve,
	       long held_back, struct core_mark *mark);
