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
#include "limited.h"
#include "output.h"
#include "syscalls.h"

static const char usage[] =
	"usage: fail_nth set USER BYTES|max\n"
	"       fail_nth kill\n"
	"       fail_nth write FILE TEXT\n"
	"       fail_nth read FILE\n"
	"       fail_nth adopt USER LINE\n"
	"Does that until none of its allocations is left to fail, and prints how each try ended.\n"
	"adopt: LINE, written to /proc/mm_limits, has USER's limit forgotten. Then USER allocates,\n"
	"and has a limit (0), or has it when it allocates once more (1).\n";

#define FAIL_NTH	"/proc/self/fail-nth"
#define MOST_TRIES	200
#define LIMITS		"/proc/mm_limits"

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

static int page_pipe[2];

/* A new pipe: one that has been read keeps its pages. */
static bool prepare_adopt(void)
{
	int fd = open(LIMITS, O_WRONLY | O_CLOEXEC);
	ssize_t length = (ssize_t)strlen(words[2]);
	bool done = fd >= 0 && write(fd, words[2], strlen(words[2])) == length;

	if (fd >= 0)
		close(fd);
	return done && !is_limited(uid) && pipe(page_pipe) == 0;
}

/* By the real uid, which decides who pays. What fails here does so only once. */
static bool become(uid_t who)
{
	return setresuid(who, (uid_t)-1, (uid_t)-1) == 0 ||
	       setresuid(who, (uid_t)-1, (uid_t)-1) == 0;
}

/* Takes a page as the user. */
static long do_adopt(void)
{
	static const char page[4096];
	long ret;
	int error;

	if (!become(uid))
		return -1;
	ret = write(page_pipe[1], page, sizeof(page));
	error = errno;
	if (!become(0))
		return -1;
	errno = error;
	return ret < 0 ? ret : 0;
}

static long finish_adopt(void)
{
	long more;

	for (more = 0; more < 2; more++) {
		if (is_limited(uid))
			break;
		do_adopt();
	}
	close(page_pipe[0]);
	close(page_pipe[1]);
	return more < 2 ? more : -1;
}

/* Only @work meets failures. The other two may be NULL; @finish says what a success came to. */
struct attempt {
	bool (*prepare)(void);
	long (*work)(void);
	long (*finish)(void);
};

static const struct attempt to_set = { .work = do_set };
static const struct attempt to_kill = { .work = do_kill };
static const struct attempt to_write = { .work = do_write };
static const struct attempt to_read = { .work = do_read };
static const struct attempt to_adopt = { prepare_adopt, do_adopt, finish_adopt };

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

static int try_all(const struct attempt *attempt)
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

		if (attempt->prepare && !attempt->prepare()) {
			complain("cannot prepare a try: %s", strerror(errno));
			return EXIT_UNEXPECTED;
		}
		if (!set_fail_nth(fd, nth)) {
			complain("%s: %s", FAIL_NTH, strerror(errno));
			return EXIT_UNEXPECTED;
		}
		errno = 0;
		ret = attempt->work();
		error = ret < 0 ? errno : 0;
		injected = has_failed(fd);
		set_fail_nth(fd, 0);
		if (attempt->finish) {
			long came_to = attempt->finish();

			ret = ret < 0 ? ret : came_to;
		}
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
			return try_all(&to_set);
	} else if (argc == 2 && !strcmp(argv[1], "kill")) {
		return try_all(&to_kill);
	} else if (argc == 4 && !strcmp(argv[1], "write")) {
		return try_all(&to_write);
	} else if (argc == 4 && !strcmp(argv[1], "adopt")) {
		if (parse_user(argv[2], &uid))
			return try_all(&to_adopt);
	} else if (argc == 3 && !strcmp(argv[1], "read")) {
		return try_all(&to_read);
	}
	complain("not understood");
	return refuse(usage);
}
