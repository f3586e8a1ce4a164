// SPDX-License-Identifier: GPL-2.0-only
/*
 * A fork bomb: each process takes some memory of its own, and forks on without
 * end. Only for a user with a limit: nothing else stops it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "args.h"
#include "limited.h"
#include "output.h"

static const char usage[] =
	"usage: fork_bomb SIZE FILE\n"
	"Takes SIZE bytes and forks without end, and so does each child. When FILE exists all of\n"
	"them stop, keep what they have, and wait to be killed. The user must have a limit.\n";

static void __attribute__((noreturn)) multiply(char *memory, unsigned long size, const char *file)
{
	/* The pages that it has of its parent are its own when it writes to them. */
	memset(memory, 1, size);
	while (access(file, F_OK) < 0) {
		pid_t pid = fork();

		if (pid == 0)
			memset(memory, 1, size);
		else if (pid < 0)
			sched_yield();
	}
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	unsigned long size;
	char *memory;

	program_name = "fork_bomb";
	if (getopt(argc, argv, "+h") == 'h')
		return show_help(usage);
	if (argc - optind != 2 || !parse_ulong(argv[optind], &size) || size == 0) {
		complain("wants a size and a file");
		return refuse(usage);
	}
	if (!is_limited(getuid())) {
		complain("the user %u has no limit", (unsigned int)getuid());
		return EXIT_UNEXPECTED;
	}
	/* Nobody waits for the dead. */
	signal(SIGCHLD, SIG_IGN);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		complain("mmap: %s", strerror(errno));
		return EXIT_UNEXPECTED;
	}
	say("fork_bomb: pid=%d", (int)getpid());
	multiply(memory, size, argv[optind + 1]);
}
