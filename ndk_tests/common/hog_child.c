// SPDX-License-Identifier: GPL-2.0-only
/* A child: gets ready, takes its memory, holds it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "hog_child.h"
#include "output.h"

static void tell(int fd, char message)
{
	while (write(fd, &message, 1) < 0 && errno == EINTR)
		;
}

static void wait_for_close(int fd)
{
	char byte;
	ssize_t got;

	do {
		got = read(fd, &byte, 1);
	} while (got > 0 || (got < 0 && errno == EINTR));
}

static unsigned long cpu_time_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (unsigned long)used.tv_sec * 1000 + (unsigned long)(used.tv_nsec / 1000000);
}

static void burn_cpu(unsigned long milliseconds)
{
	while (cpu_time_ms() < milliseconds) {
		volatile unsigned int turns = 10000;

		/* The time should be the program's own, not all the clock's. */
		while (turns > 0)
			turns--;
	}
}

static int write_adj(int adj)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", adj);
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	int ret = -1, error;

	if (fd < 0)
		return -1;
	if (write(fd, text, (size_t)length) == length)
		ret = 0;
	error = errno;
	close(fd);
	errno = error;
	return ret;
}

static int set_up(const struct hog_spec *spec)
{
	if (spec->has_name && prctl(PR_SET_NAME, (unsigned long)spec->name, 0, 0, 0) < 0)
		return -1;
	if (spec->has_adj && write_adj(spec->adj) < 0)
		return -1;
	burn_cpu(spec->cpu_ms);
	return 0;
}

/* Writes to every page: memory that nobody has touched is not there yet. */
static void touch(volatile char *memory, unsigned long size)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned long offset;

	for (offset = 0; offset < size; offset += page)
		memory[offset] = 1;
	memory[size - 1] = 1;
}

void hog_child(const struct hog_spec *spec, const struct hog_pipes *pipes)
{
	int pid = (int)getpid();
	unsigned int uid = (unsigned int)getuid();
	char *memory;

	if (set_up(spec) < 0) {
		say("child process failed set-up: pid=%d, uid=%u, mem=%lu, errno=%d",
		    pid, uid, spec->size, errno);
		_exit(HOG_EXIT_SETUP);
	}
	tell(pipes->answer, HOG_READY);
	wait_for_close(pipes->gate);

	say("child process start malloc: pid=%d, uid=%u, mem=%lu", pid, uid, spec->size);
	memory = malloc(spec->size);
	if (!memory) {
		say("child process failed malloc: pid=%d, uid=%u, mem=%lu, errno=%d",
		    pid, uid, spec->size, errno);
		_exit(HOG_EXIT_MALLOC);
	}
	touch(memory, spec->size);
	say("child process finish malloc: pid=%d, uid=%u, mem=%lu", pid, uid, spec->size);

	tell(pipes->answer, HOG_FINISHED);
	wait_for_close(pipes->end);
	_exit(HOG_EXIT_ENDED);
}
