// SPDX-License-Identifier: GPL-2.0-only
/* What oom_test_kernel does, for the killer that oom_daemon calls from time to time. */
#include "hog.h"
#include "hog_usage.h"

int main(int argc, char **argv)
{
	static const struct hog_flavour flavour = {
		.name = "oom_test_daemon",
		.usage = HOG_USAGE("oom_test_daemon", HOG_USAGE_WAIT),
		.waits_for_daemon = true,
	};

	return hog_main(&flavour, argc, argv);
}
