// SPDX-License-Identifier: GPL-2.0-only
/* Limits a user's memory, exceeds the limit with children, and sees who is killed. */
#include "hog.h"
#include "hog_usage.h"

int main(int argc, char **argv)
{
	static const struct hog_flavour flavour = {
		.name = "oom_test_kernel",
		.usage = HOG_USAGE("oom_test_kernel", ""),
		.waits_for_daemon = false,
	};

	return hog_main(&flavour, argc, argv);
}
