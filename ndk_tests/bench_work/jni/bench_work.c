// SPDX-License-Identifier: GPL-2.0-only
/* What the benchmark measures; each command is one kind of work. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "bench.h"
#include "output.h"

static const char usage[] =
	"usage: bench_work [OPTION...] COMMAND ARGUMENT...\n"
	"Measures RUNS times; the times are those of CLOCK_MONOTONIC.\n"
	"  touch PAGES RUNS               touches fresh memory\n"
	"  storm THREADS PAGES RUNS       so do threads, at the same time, with PAGES each\n"
	"  fork COUNT RUNS                forks and buries COUNT processes, one by one\n"
	"  work PROCESSES PAGES RUNS      until the last of several processes has touched PAGES\n"
	"  look USER LIMIT COUNT RUNS     sets the limit COUNT times, with a look at the user each\n"
	"  hold PAGES                     no time: holds memory until it is killed\n"
	"  idle PROCESSES                 no time: holds processes until it is killed\n"
	"  overshoot USER LIMIT PROCESSES PAGES RUNS\n"
	"                                 processes of USER, whose limit of LIMIT bytes somebody\n"
	"                                 else has set, grow to PAGES each until one is killed\n"
	"  crowd USER LIMIT PROCESSES PAGES RUNS\n"
	"                                 the same, until they are within the limit again\n"
	"  bystander USER LIMIT PROCESSES PAGES RUNS\n"
	"                                 sets the limit of processes that have PAGES each, or kills\n"
	"                                 them where there are none: another user's longest page\n"
	"                                 fault meanwhile\n"
	"  pipe USER LIMIT RUNS           exceeds a limit that somebody else has set while it writes\n"
	"                                 to a pipe, beside a victim that is stuck: the longest read\n"
	"  -g FILE     each process of overshoot and crowd first writes itself to the group FILE\n"
	"  -m MARKER   repeated in the last line (default: none)\n"
	"  -t SECONDS  how long to wait for a kill (default: 10)\n";

struct command {
	const char *name;
	/* What its arguments are: a letter each. */
	const char *arguments;
	/* The most of what `n` stands for. */
	unsigned long most;
	unsigned int (*run)(const struct bench_options *options);
};

static const struct command commands[] = {
	{ "touch", "pr", 0, bench_touch },
	{ "storm", "npr", BENCH_MOST_THREADS, bench_storm },
	{ "fork", "nr", 100000, bench_fork },
	{ "work", "npr", BENCH_MOST_PROCESSES, bench_work },
	{ "look", "ulnr", 100000, bench_look },
	{ "hold", "p", 0, bench_hold },
	{ "idle", "n", BENCH_MOST_PROCESSES, bench_idle },
	{ "overshoot", "ulnpr", BENCH_MOST_PROCESSES, bench_overshoot },
	{ "crowd", "ulnpr", BENCH_MOST_PROCESSES, bench_crowd },
	{ "bystander", "ulnpr", BENCH_MOST_PROCESSES, bench_bystander },
	{ "pipe", "ulr", 0, bench_pipe },
};

static const struct command *find_command(const char *name)
{
	size_t index;

	for (index = 0; index < sizeof(commands) / sizeof(commands[0]); index++) {
		if (strcmp(commands[index].name, name) == 0)
			return &commands[index];
	}
	return NULL;
}

static bool parse_argument(char kind, const char *text, const struct command *command,
			   struct bench_options *options)
{
	switch (kind) {
	case 'u':
		return parse_user(text, &options->uid);
	case 'l':
		if (!parse_ulong(text, &options->limit))
			return false;
		options->limit /= bench_page_size();
		return options->limit > 0;
	case 'n':
		return parse_ulong_upto(text, command->most, &options->processes) &&
		       options->processes > 0;
	case 'p':
		return parse_ulong_upto(text, BENCH_MOST_PAGES, &options->pages) &&
		       options->pages > 0;
	default:
		return parse_ulong_upto(text, BENCH_MOST_RUNS, &options->runs) &&
		       options->runs > 0;
	}
}

/* The command and its arguments; NULL, with a complaint, if they make no sense. */
static const struct command *parse(int count, char **words, struct bench_options *options)
{
	const struct command *command;
	int index;

	if (count < 1) {
		complain("wants a command");
		return NULL;
	}
	command = find_command(words[0]);
	if (!command) {
		complain("not a command: %s", words[0]);
		return NULL;
	}
	if ((size_t)count - 1 != strlen(command->arguments)) {
		complain("%s wants %zu arguments", command->name, strlen(command->arguments));
		return NULL;
	}
	for (index = 1; index < count; index++) {
		if (parse_argument(command->arguments[index - 1], words[index], command, options))
			continue;
		complain("not an argument of %s: %s", command->name, words[index]);
		return NULL;
	}
	return command;
}

int main(int argc, char **argv)
{
	struct bench_options options = { .marker = "none", .timeout = 10000, .runs = 1 };
	const struct command *command;
	int option;

	program_name = "bench_work";
	while ((option = getopt(argc, argv, "+hg:m:t:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'g':
			options.group = optarg;
			break;
		case 'm':
			options.marker = optarg;
			if (parse_marker(optarg))
				break;
			complain("not a marker: %s", optarg);
			return refuse(usage);
		case 't':
			if (parse_seconds(optarg, &options.timeout) && options.timeout > 0)
				break;
			complain("not a time in seconds: %s", optarg);
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	command = parse(argc - optind, argv + optind, &options);
	if (!command)
		return refuse(usage);
	/* Inherited as ignored, no process could be buried. */
	signal(SIGCHLD, SIG_DFL);
	return say_done(options.marker, command->run(&options), (unsigned int)options.runs);
}
