// SPDX-License-Identifier: GPL-2.0-only
/* Setting a limit, with a line that says how it went. */
#include <errno.h>

#include "output.h"
#include "set_limit.h"
#include "syscalls.h"

long set_limit(uid_t uid, unsigned long mm_max)
{
	long ret;
	int error;

	errno = 0;
	ret = set_mm_limits(uid, mm_max);
	error = ret < 0 ? errno : 0;
	say("set_mm_limits: uid=%u, mm_max=%lu, ret=%ld, errno=%d",
	    (unsigned int)uid, mm_max, ret, error);
	return ret < 0 ? -error : ret;
}
