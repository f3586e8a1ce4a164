// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tries to get round a limit, or to have others pay for it.
 *
 * At each step the program says "waiting:", and a line on standard input leads on.
 */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "output.h"
#include "stage.h"
#include "ways.h"

#define COUNT_MOST	2000

static const char usage[] =
	"usage: attack WAY ARGUMENT...\n"
	"Tries to get round a limit. At each step it waits for a line on standard input. SIZE in\n"
	"bytes, U a user. For ways with a U the caller must be root.\n"
	"  pipe-write U       U writes to a pipe from memory that faults; root reads it meanwhile,\n"
	"  pipe-splice U      without waiting, and says how long that took: the same with\n"
	"  pipe-read U        vmsplice(); U reads from the pipe, and root writes to it\n"
	"  forks N            forks and buries N processes, one by one\n"
	"  programs N         the same, and each executes this program's help\n"
	"  traced SIZE        a child holds SIZE, and its tracer does not let it end\n"
	"  heir U SIZE        U's child holds SIZE; a process of the next user shares it, and its\n"
	"                     tracer does not let it end\n"
	"  kthread SIZE       a kernel thread (tests/boot/modules/use_mm.c) takes SIZE of it\n"
	"  kept SIZE          the same thread keeps the memory of a child that ends; then SIZE is\n"
	"                     written into it\n"
	"  sharers N SIZE     holds SIZE; forks processes that share its memory and do so, too,\n"
	"                     without end, up to N at a time; the user must have a limit\n"
	"  crowd N SIZE       N children hold SIZE each\n"
	"  large N SIZE       N children hold a tenth of SIZE each; the process itself SIZE;\n"
	"                     2: it takes and gives back 200 pages more all the time\n"
	"  slips SIZE         takes SIZE, 20 pages at a time, and reads all limits in between\n"
	"  populate SIZE      takes SIZE by mmap() with MAP_POPULATE\n"
	"  passes N SIZE      two processes hold SIZE in turn, never both; N others in between\n"
	"  copies N SIZE      N threads map SIZE of a file each; one more copies all of it\n"
	"  threads N M SIZE   M children; 2: N threads take SIZE each, all at once\n"
	"  starved N M SIZE   M children, and N that keep the CPUs busy; 2: it takes SIZE, with\n"
	"                     SCHED_IDLE\n"
	"  sets N M SIZE      sets a limit for itself N times, with the least priority: SIZE, then M\n"
	"                     pages less each time\n"
	"  nice-sets N SIZE   N children keep the CPUs busy; 1: it sets its limit without end, with\n"
	"                     the least priority\n"
	"  lowers N M SIZE    N children; M more set the limit to SIZE, and to a byte less each time,\n"
	"                     without end; 2: it takes SIZE\n"
	"  calls N SIZE       N times: a child holds SIZE and makes system calls without end; another\n"
	"                     takes three quarters of it; the limit must be in between\n"
	"  subuids U N SIZE   N users of U's namespace, 100000 and so on, hold SIZE each\n"
	"  remote U V SIZE    V writes SIZE into the memory of a child of U, which ends meanwhile\n"
	"  robust N           N children end that have as many robust futexes as can be\n"
	"  ring U SIZE        U maps a ring for packets, all of it at once\n"
	"  execs N SIZE       holds SIZE, and executes this program's help with N words more, of\n"
	"                     100000 letters each\n"
	"  thread-execs U     a thread becomes U, and executes the way populate\n"
	"  parts N            a child holds 2 N pages as 2 N mappings, and its tracer does not let\n"
	"                     it end\n";

static const struct way *find_way(const char *name)
{
	const struct way *found;

	for (found = ways; found->name; found++)
		if (strcmp(found->name, name) == 0)
			return found;
	return NULL;
}

static bool parse_args(const char *takes, char **words, struct way_args *args)
{
	unsigned int counts = 0, users = 0;

	for (; *takes != '\0'; takes++, words++) {
		bool good;

		if (*takes == 'n')
			good = parse_ulong_upto(*words, COUNT_MOST, &args->counts[counts++]);
		else if (*takes == 's')
			good = parse_ulong(*words, &args->size);
		else
			good = parse_user(*words, users++ ? &args->other : &args->uid);
		if (!good) {
			complain("not an argument: %s", *words);
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	struct way_args args = { };
	const struct way *way;
	int option;

	program_name = "attack";
	option = getopt(argc, argv, "+h");
	if (option >= 0)
		return option == 'h' ? show_help(usage) : refuse(usage);
	if (optind >= argc) {
		complain("wants a way");
		return refuse(usage);
	}
	way = find_way(argv[optind]);
	if (!way) {
		complain("no such way: %s", argv[optind]);
		return refuse(usage);
	}
	if ((size_t)(argc - optind - 1) != strlen(way->takes)) {
		complain("not the arguments of %s", way->name);
		return refuse(usage);
	}
	if (!parse_args(way->takes, argv + optind + 1, &args))
		return refuse(usage);
	/* A careless parent may have left others. */
	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_IGN);
	stage_open(STDIN_FILENO);
	say("attack: way=%s, pid=%d", way->name, (int)getpid());
	way->attack(&args);
	return say_done("none", 1, 1);
}
