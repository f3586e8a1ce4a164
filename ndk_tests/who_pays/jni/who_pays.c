// SPDX-License-Identifier: GPL-2.0-only
/*
 * Builds one situation in which it is not plain whose memory is whose, and holds
 * it while somebody looks at /proc/mm_limits.
 *
 * The program itself only looks on: the situation is in children of its own, and
 * with -u they are another user's, so that nothing else of that user is there.
 * A pipe that all of them have open for writing says by its end of file that
 * none is left, whoever ended them.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"
#include "cases.h"
#include "output.h"
#include "stage.h"

#define READ_END	0
#define WRITE_END	1

#define COUNT_MOST	500

static const char usage[] =
	"usage: who_pays [-k COUNT] [-u USER] CASE ARGUMENT...\n"
	"Builds a situation and holds it, step by step: each line on standard input leads to\n"
	"the next one; its end, or SIGTERM, to the last.\n"
	"  -k COUNT  how many of the processes are to be killed meanwhile (default: 0)\n"
	"  -u USER   whose the processes are (default: the caller's)\n"
	"The cases; SIZE in bytes, U a user. For those with a U the caller must be root.\n"
	"  threads N SIZE            N threads\n"
	"  clone-vm N SIZE           N processes that share their memory\n"
	"  clone-vm-across U U SIZE  two that share what the younger one, the second\n"
	"                            user's, took; 2: the older one has ended; then it takes\n"
	"                            as much again\n"
	"  thread-across U U SIZE    the second user's is a thread that holds it, of the first's\n"
	"  vfork SIZE                a process and its vfork child\n"
	"  exited-leader SIZE        a thread whose leader has exited\n"
	"  exited-leader-down SIZE U the same, root's; 2: the thread has become U's\n"
	"  exec SIZE                 a process; 2: after it executed a program\n"
	"  setuid-down SIZE U        root's process; 2: U's\n"
	"  setuid-up SIZE U          U's process; 2: it is root in effect; 3: it is root's\n"
	"  forks N SIZE              a process of so much, and its N-1 children\n"
	"  zombies N                 N zombies that had 1 MiB each, and their parent\n"
	"  tables SIZE               a process with page tables for SIZE, and nothing in them\n"
	"  deltas N SIZE             N threads touch SIZE each; 2: the mm's counters know it\n"
	"  deltas-unmapping N SIZE   the same, giving back a page every few faults\n"
	"  deltas-file N SIZE        the same, with pages of a file\n"
	"  deltas-shared N SIZE      the same, with shared memory\n"
	"  deltas-sharers N SIZE     N processes share an mm; all but the first touch SIZE each\n";

struct options {
	const struct who_case *play;
	struct who_args args;
	unsigned long killed;
	bool has_user;
	uid_t user;
};

/* To be told things, and to tell: see above. */
struct pipes {
	int steps[2];
	int alive[2];
};

static int nothing;

/* As if standard input came to its end here. */
static void end_input(int number)
{
	int error = errno;

	(void)number;
	dup2(nothing, STDIN_FILENO);
	errno = error;
}

/* What a careless parent may have left. */
static void set_signals(void (*on_term)(int))
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
	signal(SIGCHLD, SIG_DFL);
	/* Children that are gone read no steps. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_term);
}

static void __attribute__((noreturn)) play(const struct options *options, struct pipes *pipes)
{
	set_signals(SIG_DFL);
	stage_bind();
	close(pipes->steps[WRITE_END]);
	close(pipes->alive[READ_END]);
	stage_open(pipes->steps[READ_END]);
	if (options->has_user) {
		/* Without uid 0 these are no longer allowed. */
		if (setgroups(0, NULL) < 0 || setgid((gid_t)options->user) < 0)
			stage_fail("setgid");
		stage_become(options->user);
	}
	options->play->play(&options->args);
}

/* Passes the lines on, as steps; returns whether there can be more. */
static bool pass_lines(int steps)
{
	char text[64];
	ssize_t got = read(STDIN_FILENO, text, sizeof(text)), i;

	if (got <= 0)
		return got < 0 && errno == EINTR;
	for (i = 0; i < got; i++)
		if (text[i] == '\n' && write(steps, "", 1) < 0)
			return false;
	return true;
}

/* Until none of the processes is left. */
static void look_on(struct pipes *pipes)
{
	struct pollfd polled[] = {
		{ .fd = pipes->alive[READ_END], .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	while (poll(polled, 2, -1) >= 0 || errno == EINTR) {
		if (polled[0].revents)
			return;
		if (polled[1].revents && !pass_lines(pipes->steps[WRITE_END])) {
			close(pipes->steps[WRITE_END]);
			polled[1].fd = -1;
		}
		polled[1].revents = 0;
	}
	stage_fail("poll");
}

/* Returns how many of the two checks passed. */
static unsigned int judge(const struct options *options)
{
	unsigned long total = options->play->processes;
	unsigned long lived = 0, killed = 0;
	int status;
	pid_t pid;

	if (total == 0)
		total = options->args.count;
	while ((pid = waitpid(-1, &status, 0)) >= 0 || errno == EINTR) {
		const char *outcome = "other";

		if (pid < 0)
			continue;
		if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_EXPECTED) {
			outcome = "lived";
			lived++;
		} else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			outcome = "killed";
			killed++;
		}
		say("end: pid=%d, outcome=%s, status=%d", (int)pid, outcome, status);
	}
	return (killed == options->killed) + (lived == total - options->killed);
}

static unsigned int run(const struct options *options)
{
	struct pipes pipes;
	pid_t pid;

	nothing = open("/dev/null", O_RDONLY);
	if (nothing < 0)
		stage_fail("/dev/null");
	stage_pipe(pipes.steps);
	stage_pipe(pipes.alive);
	set_signals(end_input);
	say("who_pays: case=%s, pid=%d", options->play->name, (int)getpid());
	pid = fork();
	if (pid < 0)
		stage_fail("fork");
	if (pid == 0)
		play(options, &pipes);
	close(pipes.steps[READ_END]);
	close(pipes.alive[WRITE_END]);
	look_on(&pipes);
	return judge(options);
}

static const struct who_case *find_case(const char *name)
{
	const struct who_case *found;

	for (found = who_cases; found->name; found++)
		if (strcmp(found->name, name) == 0)
			return found;
	return NULL;
}

/* Reads what the case takes; the words are as many. Says what is wrong. */
static bool parse_args(const char *takes, char **words, struct who_args *args)
{
	unsigned int uids = 0;

	for (; *takes != '\0'; takes++, words++) {
		if (*takes == 'n') {
			if (!parse_ulong_upto(*words, COUNT_MOST, &args->count) || args->count == 0) {
				complain("not a count: %s", *words);
				return false;
			}
		} else if (*takes == 's') {
			if (!parse_ulong(*words, &args->size) || args->size == 0) {
				complain("not a size: %s", *words);
				return false;
			}
		} else if (!parse_user(*words, &args->uids[uids++])) {
			complain("no such user: %s", *words);
			return false;
		}
	}
	return true;
}

/* Reads the options into @options; -1 to go on, otherwise an exit status. */
static int parse_options(int argc, char **argv, struct options *options)
{
	int option;

	while ((option = getopt(argc, argv, "+hk:u:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'k':
			if (parse_ulong_upto(optarg, COUNT_MOST, &options->killed))
				break;
			complain("not a count: %s", optarg);
			return refuse(usage);
		case 'u':
			options->has_user = true;
			if (parse_user(optarg, &options->user))
				break;
			complain("no such user: %s", optarg);
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	return -1;
}

static int parse(int argc, char **argv, struct options *options)
{
	int status = parse_options(argc, argv, options);

	if (status >= 0)
		return status;
	if (optind >= argc) {
		complain("wants a case");
		return refuse(usage);
	}
	options->play = find_case(argv[optind]);
	if (!options->play) {
		complain("no such case: %s", argv[optind]);
		return refuse(usage);
	}
	if ((size_t)(argc - optind - 1) != strlen(options->play->takes)) {
		complain("not the arguments of %s", options->play->name);
		return refuse(usage);
	}
	if (!parse_args(options->play->takes, argv + optind + 1, &options->args))
		return refuse(usage);
	return -1;
}

int main(int argc, char **argv)
{
	struct options options = { .play = NULL };
	unsigned long fd;
	int status;

	program_name = "who_pays";
	/* What the case exec executes: not for anybody else. */
	if (argc == 3 && strcmp(argv[1], "after-exec") == 0 &&
	    parse_ulong_upto(argv[2], COUNT_MOST, &fd)) {
		stage_open((int)fd);
		play_after_exec();
	}
	status = parse(argc, argv, &options);
	return status < 0 ? say_done("none", run(&options), 2) : status;
}
