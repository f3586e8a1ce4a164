// SPDX-License-Identifier: GPL-2.0-only
/*
 * oom_test_kernel and oom_test_daemon: sets the limit, runs the children, says
 * how each ended, and judges it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "hog.h"
#include "output.h"
#include "set_limit.h"

static const char *const outcome_names[] = {
	[HOG_LIVED] = "lived",
	[HOG_KILLED] = "killed",
	[HOG_FAILED] = "failed",
	[HOG_OTHER] = "other",
};

static bool fits(char letter, enum hog_outcome outcome)
{
	switch (letter) {
	case 'L':
		return outcome == HOG_LIVED;
	case 'K':
		return outcome == HOG_KILLED;
	case 'F':
		return outcome == HOG_FAILED;
	default:
		return true;
	}
}

static bool over_limit(const struct hog_options *options)
{
	unsigned long left = options->limit;
	unsigned int index;

	if (options->limit == 0)
		return false;
	for (index = 0; index < options->count; index++) {
		if (options->specs[index].size > left)
			return true;
		left -= options->specs[index].size;
	}
	return false;
}

static unsigned int count_outcomes(const struct hog_options *options,
				   const struct hog_result *results, enum hog_outcome outcome)
{
	unsigned int index, count = 0;

	for (index = 0; index < options->count; index++)
		count += results[index].outcome == outcome;
	return count;
}

/* How many checks passed: one a child with -e, without it one in all. */
static unsigned int judge(const struct hog_options *options, const struct hog_result *results)
{
	unsigned int index, passed = 0;

	if (!options->expected) {
		if (over_limit(options))
			return count_outcomes(options, results, HOG_KILLED) > 0;
		return count_outcomes(options, results, HOG_LIVED) == options->count;
	}
	for (index = 0; index < options->count; index++)
		passed += fits(options->expected[index], results[index].outcome);
	return passed;
}

static void say_results(const struct hog_options *options, const struct hog_result *results)
{
	unsigned int index;

	for (index = 0; index < options->count; index++) {
		const struct hog_result *result = &results[index];

		say("child end: index=%u, pid=%d, mem=%lu, outcome=%s, status=%d",
		    index, (int)result->pid, options->specs[index].size,
		    outcome_names[result->outcome], result->status);
	}
}

/* Prints what happens; returns how many checks passed. */
static unsigned int run(const struct hog_options *options)
{
	struct hog_result *results;
	unsigned int passed = 0;

	say("pw->uid=%u", (unsigned int)options->uid);
	say("@@@@uid: %u", (unsigned int)getuid());
	say("@@@@pid: %d", (int)getpid());
	if (options->set_limit) {
		/* Without the limit the children would prove nothing. */
		if (set_limit(options->uid, options->limit) < 0)
			return 0;
		passed++;
	}
	results = calloc(options->count, sizeof(*results));
	if (!results) {
		complain("no memory for %u results", options->count);
		return 0;
	}
	hog_run(options, results);
	say_results(options, results);
	passed += judge(options, results);
	free(results);
	return passed;
}

int hog_main(const struct hog_flavour *flavour, int argc, char **argv)
{
	struct hog_options options;
	unsigned int total;
	int status;

	program_name = flavour->name;
	status = hog_parse(flavour, argc, argv, &options);
	if (status < 0) {
		total = options.set_limit + (options.expected ? options.count : 1);
		status = say_done(options.marker, run(&options), total);
	}
	free(options.specs);
	return status;
}
