// SPDX-License-Identifier: GPL-2.0-only
/* Calls set_mm_limits() once and checks what it returns. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "output.h"
#include "set_limit.h"

/* No return value of the syscall, nor a negated errno. */
#define ZERO_OR_ONE LONG_MAX

static const char usage[] =
	"usage: test_set_mm_limits [-m MARKER] [-e RET] USER BYTES|max\n"
	"Sets the memory limit of USER (a uid or a name) to BYTES; max removes it.\n"
	"  -m MARKER  repeated in the last line (default: none)\n"
	"  -e RET     what to expect: 0, 1, or an errno such as EPERM (default: 0 or 1)\n";

static const struct {
	const char *name;
	long ret;
} returns[] = {
	{ "0", 0 },
	{ "1", 1 },
	{ "EAGAIN", -EAGAIN },
	{ "EFAULT", -EFAULT },
	{ "EINTR", -EINTR },
	{ "EINVAL", -EINVAL },
	{ "ENOMEM", -ENOMEM },
	{ "ENOSPC", -ENOSPC },
	{ "ENOSYS", -ENOSYS },
	{ "EPERM", -EPERM },
};

static bool parse_return(const char *text, long *ret)
{
	size_t i;

	for (i = 0; i < sizeof(returns) / sizeof(returns[0]); i++) {
		if (strcmp(text, returns[i].name) == 0) {
			*ret = returns[i].ret;
			return true;
		}
	}
	return false;
}

static bool parse_bytes(const char *text, unsigned long *bytes)
{
	if (strcmp(text, "max") != 0)
		return parse_ulong(text, bytes);
	*bytes = ULONG_MAX;
	return true;
}

static bool as_expected(long ret, long expected)
{
	if (expected == ZERO_OR_ONE)
		return ret == 0 || ret == 1;
	return ret == expected;
}

int main(int argc, char **argv)
{
	const char *marker = "none";
	long expected = ZERO_OR_ONE;
	unsigned long bytes;
	uid_t uid;
	int option;

	program_name = "test_set_mm_limits";
	while ((option = getopt(argc, argv, "+hm:e:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'm':
			marker = optarg;
			break;
		case 'e':
			if (parse_return(optarg, &expected))
				break;
			complain("no such return value: %s", optarg);
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	if (!parse_marker(marker)) {
		complain("not a marker: %s", marker);
		return refuse(usage);
	}
	if (argc - optind != 2) {
		complain("wants a user and a limit");
		return refuse(usage);
	}
	if (!parse_user(argv[optind], &uid)) {
		complain("no such user: %s", argv[optind]);
		return refuse(usage);
	}
	if (!parse_bytes(argv[optind + 1], &bytes)) {
		complain("not a number of bytes: %s", argv[optind + 1]);
		return refuse(usage);
	}
	return say_done(marker, as_expected(set_limit(uid, bytes), expected), 1);
}
