// SPDX-License-Identifier: GPL-2.0-only
/* Calls my_oom_killer() again and again, for kernels whose trigger is the syscall. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "output.h"
#include "syscalls.h"

static const char usage[] =
	"usage: oom_daemon [-c COUNT] [-v] SECONDS\n"
	"Has the users' limits enforced every SECONDS (at least 0.001).\n"
	"  -c COUNT  end after COUNT times (default: go on for ever)\n"
	"  -v        print what each call returned\n";

static void end_now(int number)
{
	(void)number;
	/* Nothing is buffered and nothing is open: there is nothing to clean up. */
	_exit(EXIT_EXPECTED);
}

static void sleep_for(unsigned long milliseconds)
{
	struct timespec left = {
		.tv_sec = (time_t)(milliseconds / 1000),
		.tv_nsec = (long)(milliseconds % 1000) * 1000000L,
	};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* Returns whether it makes sense to call again. */
static bool call_killer(bool verbose)
{
	long ret;
	int error;

	errno = 0;
	ret = my_oom_killer();
	error = ret < 0 ? errno : 0;
	if (verbose)
		say("my_oom_killer: ret=%ld, errno=%d", ret, error);
	if (error == 0 || error == EINTR)
		return true;
	complain("my_oom_killer: %s", strerror(error));
	return error != ENOSYS && error != EPERM;
}

int main(int argc, char **argv)
{
	unsigned long interval, count = 0, calls;
	bool verbose = false, for_ever = true;
	int option;

	program_name = "oom_daemon";
	while ((option = getopt(argc, argv, "+hc:v")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'c':
			for_ever = false;
			if (parse_ulong(optarg, &count) && count > 0)
				break;
			complain("not a count: %s", optarg);
			return refuse(usage);
		case 'v':
			verbose = true;
			break;
		default:
			return refuse(usage);
		}
	}
	if (argc - optind != 1) {
		complain("wants an interval");
		return refuse(usage);
	}
	if (!parse_seconds(argv[optind], &interval) || interval == 0) {
		complain("not an interval in seconds: %s", argv[optind]);
		return refuse(usage);
	}
	signal(SIGTERM, end_now);
	signal(SIGINT, end_now);
	for (calls = 0; for_ever || calls < count; calls++) {
		if (calls > 0)
			sleep_for(interval);
		if (!call_killer(verbose))
			return EXIT_UNEXPECTED;
	}
	return EXIT_EXPECTED;
}
