// SPDX-License-Identifier: GPL-2.0-only
/* Who has a limit, by the kernel's own account. */
#include <stdio.h>
#include <stdlib.h>

#include "limited.h"

bool is_limited(uid_t uid)
{
	FILE *file = fopen("/proc/mm_limits", "re");
	bool found = false;
	char line[256];

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file)) {
		char *end;
		unsigned long whose = strtoul(line, &end, 10);

		found = end != line && *end == ' ' && whose == uid;
	}
	fclose(file);
	return found;
}
