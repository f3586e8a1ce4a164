// SPDX-License-Identifier: GPL-2.0-only
/* A round of fuzzing: arguments, random numbers, and what all processes share. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "args.h"
#include "fuzz.h"
#include "output.h"

static const char usage[] =
	"usage: mm_limits_fuzz [-t SECONDS] [-f PERCENT] [-k FOLDER] [-m MARKER] SEED\n"
	"Runs one round that comes of SEED, as root, and prints who died in it.\n"
	"  -t SECONDS  how long actors act (default: 2)\n"
	"  -f PERCENT  of their slab allocations fail, where the kernel can do that\n"
	"  -k FOLDER   unload and load the modules in FOLDER meanwhile\n"
	"  -m MARKER   repeated in the last line\n";

struct shared *shared;

unsigned int pick(uint64_t *state, unsigned int below)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (unsigned int)((*state * 0x2545f4914f6cdd1dULL) >> 33) % below;
}

uint64_t mix(uint64_t seed, uint64_t more)
{
	uint64_t mixed = (seed + 1) * 0x9e3779b97f4a7c15ULL + more * 0xbf58476d1ce4e5b9ULL;

	/* A state of 0 stays 0. */
	return (mixed ^ (mixed >> 29)) | 1;
}

bool map_shared(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, SHARED_FD, 0);
	return shared != MAP_FAILED;
}

/* A file without a name, at SHARED_FD in all that come of this process. */
static bool make_shared(void)
{
	char name[] = "/data/local/tmp/fuzz-XXXXXX";
	int fd = mkstemp(name);

	if (fd < 0 || unlink(name) || ftruncate(fd, sizeof(*shared)))
		return false;
	if (dup2(fd, SHARED_FD) < 0)
		return false;
	if (fd != SHARED_FD)
		close(fd);
	return map_shared();
}

/* Nobody waits until it is empty, or full. */
static bool make_pipe(void)
{
	int ends[2];

	return pipe2(ends, O_NONBLOCK) == 0 && dup2(ends[0], PIPE_OUT) >= 0 &&
	       dup2(ends[1], PIPE_IN) >= 0;
}

int main(int argc, char **argv)
{
	struct plan plan = { .milliseconds = 2000 };
	unsigned long seed;
	const char *marker = "";
	struct actor actor;
	bool good;
	int option;

	program_name = "mm_limits_fuzz";
	if (argc == 6 && !strcmp(argv[1], "-A")) {
		if (!actor_from_arguments(argv + 2, &actor) || !map_shared())
			return refuse(usage);
		act(&actor);
	}
	while ((option = getopt(argc, argv, "+hf:k:m:t:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'f':
			if (parse_ulong_upto(optarg, 100, &plan.failing))
				break;
			complain("not a percentage: %s", optarg);
			return refuse(usage);
		case 'k':
			plan.modules = optarg;
			break;
		case 'm':
			if (parse_marker(optarg)) {
				marker = optarg;
				break;
			}
			complain("not a marker: %s", optarg);
			return refuse(usage);
		case 't':
			if (parse_seconds(optarg, &plan.milliseconds))
				break;
			complain("not a time: %s", optarg);
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	if (argc - optind != 1 || !parse_ulong(argv[optind], &seed)) {
		complain("wants a seed");
		return refuse(usage);
	}
	if (geteuid() != 0) {
		complain("wants to be root");
		return refuse(usage);
	}
	plan.seed = seed;
	if (!make_shared() || !make_pipe()) {
		complain("no shared memory, or no pipe: %s", strerror(errno));
		return EXIT_UNEXPECTED;
	}
	good = drive(&plan);
	return say_done(marker, good, 1);
}
