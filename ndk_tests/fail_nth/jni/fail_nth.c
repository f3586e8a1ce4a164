// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does one thing again and again, and each time has the kernel fail its next
 * allocation: the first, the second, until there are no more. For kernels with
 * fault injection (/proc/self/fail-nth).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "output.h"
#include "syscalls.h"

static const char usage[] =
	"usage: fail_nth set USER BYTES|max\n"
	"       fail_nth kill\n"
	"       fail_nth write FILE TEXT\n"
	"       fail_nth read FILE\n"
	"Does that until none of its allocations is left to fail, and prints how each try ended.\n";

#define FAIL_NTH	"/proc/self/fail-nth"
#define MOST_TRIES	200

static char *const *words;
static uid_t uid;
static unsigned long size;

static long do_set(void)
{
	return set_mm_limits(uid, size);
}

static long do_kill(void)
{
	return my_oom_killer();
}

static long do_write(void)
{
	int fd = open(words[1], O_WRONLY | O_CLOEXEC);
	long ret = fd;

	if (fd >= 0) {
		int error;

		ret = write(fd, words[2], strlen(words[2]));
		error = errno;
		close(fd);
		errno = error;
	}
	return ret < 0 ? ret : 0;
}

static long do_read(void)
{
	int fd = open(words[1], O_RDONLY | O_CLOEXEC);
	char text[4096];
	long ret = fd;

	if (fd >= 0) {
		int error;

		while ((ret = read(fd, text, sizeof(text))) > 0)
			;
		error = errno;
		close(fd);
		errno = error;
	}
	return ret;
}

/* Fails the @nth allocation from here on; 0 stops that. Returns how far it came. */
static bool set_fail_nth(int fd, unsigned int nth)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(fd, text, (size_t)length, 0) == length;
}

/* Whether the kernel has used up what set_fail_nth() asked for. */
static bool has_failed(int fd)
{
	char text[16] = "";

	return pread(fd, text, sizeof(text) - 1, 0) > 0 && strtoul(text, NULL, 10) == 0;
}

static int try_all(long (*work)(void))
{
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	unsigned int nth;

	if (fd < 0) {
		complain("%s: %s", FAIL_NTH, strerror(errno));
		return EXIT_UNEXPECTED;
	}
	for (nth = 1; nth <= MOST_TRIES; nth++) {
		bool injected;
		int error;
		long ret;

		if (!set_fail_nth(fd, nth)) {
			complain("%s: %s", FAIL_NTH, strerror(errno));
			return EXIT_UNEXPECTED;
		}
		errno = 0;
		ret = work();
		error = ret < 0 ? errno : 0;
		injected = has_failed(fd);
		set_fail_nth(fd, 0);
		say("try: nth=%u, injected=%d, ret=%ld, errno=%d", nth, injected, ret, error);
		if (!injected)
			return say_done("-", ret >= 0, 1);
	}
	complain("there is no end of allocations");
	return EXIT_UNEXPECTED;
}

int main(int argc, char **argv)
{
	program_name = "fail_nth";
	words = argv + 1;
	if (argc == 2 && !strcmp(argv[1], "-h"))
		return show_help(usage);
	if (argc == 4 && !strcmp(argv[1], "set")) {
		size = ~0UL;
		if (parse_user(argv[2], &uid) &&
		    (!strcmp(argv[3], "max") || parse_ulong(argv[3], &size)))
			return try_all(do_set);
	} else if (argc == 2 && !strcmp(argv[1], "kill")) {
		return try_all(do_kill);
	} else if (argc == 4 && !strcmp(argv[1], "write")) {
		return try_all(do_write);
	} else if (argc == 3 && !strcmp(argv[1], "read")) {
		return try_all(do_read);
	}
	complain("not understood");
	return refuse(usage);
}
