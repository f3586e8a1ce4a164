// SPDX-License-Identifier: GPL-2.0-only
/* Who has a limit, and what it has, by the kernel's own account. */
#include <stdio.h>
#include <stdlib.h>

#include "limited.h"

/* Finds the user's line; @rest is then what follows the uid. */
static bool find_line(uid_t uid, char line[256], char **rest)
{
	FILE *file = fopen("/proc/mm_limits", "re");
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, 256, file)) {
		unsigned long whose = strtoul(line, rest, 10);

		found = *rest != line && **rest == ' ' && whose == uid;
	}
	fclose(file);
	return found;
}

bool is_limited(uid_t uid)
{
	char line[256], *rest;

	return find_line(uid, line, &rest);
}

unsigned long limited_rss(uid_t uid)
{
	char line[256], *rest;

	if (!find_line(uid, line, &rest))
		return 0;
	/* Behind the limit. */
	strtoul(rest, &rest, 10);
	return strtoul(rest, NULL, 10);
}
