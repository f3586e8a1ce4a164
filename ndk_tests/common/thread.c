// SPDX-License-Identifier: GPL-2.0-only
/* See thread.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"

/* On 32-bit ARM the plain one takes uids of 16 bits. */
#ifdef __NR_setresuid32
#define NR_SETRESUID	__NR_setresuid32
#else
#define NR_SETRESUID	__NR_setresuid
#endif

int set_thread_uids(uid_t real, uid_t effective, uid_t saved)
{
	if (syscall(NR_SETRESUID, real, effective, saved) < 0)
		return -1;
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

void end_thread(void)
{
	for (;;)
		syscall(__NR_exit, 0);
}

int await_end_of_leader(void)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	char line[256], *name_end;
	bool is_zombie = false;

	while (!is_zombie) {
		FILE *stat = fopen("/proc/self/stat", "re");

		if (!stat)
			return -1;
		/* The name before the state may be anything. */
		name_end = fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
		fclose(stat);
		if (!name_end)
			return -1;
		is_zombie = strncmp(name_end, ") Z", 3) == 0;
		if (!is_zombie)
			nanosleep(&moment, NULL);
	}
	return 0;
}
