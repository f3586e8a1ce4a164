// SPDX-License-Identifier: GPL-2.0-only
/*
 * Says, over time, what the processes of each app use together. It asks /proc and
 * not the limits' own file: reading that has the kernel count again, and what is
 * tested is whether it does so by itself.
 *
 * A look is cheap, so that there can be many: a process is opened once, and kept
 * open, and the folder of all processes is read only where one was started. Looks
 * come more often while something changes, and all of them together take no more
 * than a share of a CPU.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "output.h"

/* Android's apps. */
#define FIRST_APP	10000
#define LAST_APP	19999
#define MOST_USERS	64
/* So many pids there are, where nobody has asked for more. */
#define MOST_PROCESSES	32768
/* Besides the processes. */
#define OTHER_FILES	16
/* Of the time that goes by, one in so many parts may be spent on looking. */
#define SHARE		20
/* What was not spent may be spent later, up to so much. */
#define MOST_SAVED_NS	(NS_PER_SEC / 4)
/* While something changes, and so long after it, looks come so many times as often. */
#define OFTENER		5
#define LIVELY_NS	(NS_PER_SEC / 4)
/* The folder of all processes is read so often at least. */
#define SEARCH_NS	(NS_PER_SEC / 2)
#define NS_PER_SEC	1000000000LL

static const char usage[] =
	"usage: watch_memory [-c COUNT] SECONDS\n"
	"Looks every SECONDS (at least 0.001; five times as often while something changes,\n"
	"less often where that would take more than a twentieth of a CPU) at what the\n"
	"processes of each app (uids 10000 to 19999) use together, and says what has\n"
	"changed. Memory that processes share counts for each of them.\n"
	"  -c COUNT  end after COUNT looks (default: go on for ever)\n";

struct user {
	uid_t uid;
	unsigned long rss;
	unsigned long said;
};

/*
 * A process; its @file is its folder, and its statm once it is known as that of
 * an app, which no other user becomes. -1: there is nothing to see of it.
 */
struct process {
	pid_t pid;
	int file;
	struct user *user;
};

/* Those of a search, in the order of their pids, and those of the search before. */
struct list {
	struct process all[MOST_PROCESSES];
	unsigned int nr;
};

static struct user users[MOST_USERS];
static unsigned int nr_users;
static struct list lists[2];
static struct list *known = &lists[0];

/* What has been seen and not been said yet, and since when. */
static char unsaid[4096];
static size_t unsaid_length;
static long long unsaid_since;

static void end_now(int number)
{
	(void)number;
	_exit(EXIT_EXPECTED);
}

static long long now_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * NS_PER_SEC + time.tv_nsec;
}

static void sleep_ns(long long ns)
{
	struct timespec left = {
		.tv_sec = (time_t)(ns / NS_PER_SEC),
		.tv_nsec = (long)(ns % NS_PER_SEC),
	};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

/* The user's entry; NULL if there is no room for one more. */
static struct user *find_user(uid_t uid)
{
	unsigned int i;

	for (i = 0; i < nr_users; i++)
		if (users[i].uid == uid)
			return &users[i];
	if (nr_users == MOST_USERS)
		return NULL;
	users[nr_users] = (struct user){ .uid = uid };
	return &users[nr_users++];
}

/* Pages that the process of this statm has, and those that are in memory. */
static bool read_statm(int statm, unsigned long *size, unsigned long *resident)
{
	char text[128];
	ssize_t length;

	length = pread(statm, text, sizeof(text) - 1, 0);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return sscanf(text, "%lu %lu", size, resident) == 2;
}

static void lose(struct process *process)
{
	if (process->file >= 0)
		close(process->file);
	process->file = -1;
	process->user = NULL;
}

/* Whether the process in this folder has memory: not so a kernel thread, or one that ends. */
static bool has_memory(int folder)
{
	unsigned long size = 0, resident = 0;
	int statm;

	statm = openat(folder, "statm", O_RDONLY | O_CLOEXEC);
	if (statm < 0)
		return false;
	if (!read_statm(statm, &size, &resident))
		size = 0;
	close(statm);
	return size > 0;
}

static void meet(struct process *process, int proc, const char *name, pid_t pid)
{
	*process = (struct process){
		.pid = pid,
		.file = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	};
	if (process->file >= 0 && !has_memory(process->file))
		lose(process);
}

/* Reads the folder of all processes, which has them in the order of their pids. */
static void search(DIR *proc)
{
	struct list *before = known, *found = before == lists ? &lists[1] : &lists[0];
	const struct dirent *entry;
	unsigned int at = 0;
	pid_t pid;

	found->nr = 0;
	rewinddir(proc);
	while (found->nr < MOST_PROCESSES && (entry = readdir(proc))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid = (pid_t)strtol(entry->d_name, NULL, 10);
		while (at < before->nr && before->all[at].pid < pid)
			lose(&before->all[at++]);
		if (at < before->nr && before->all[at].pid == pid)
			found->all[found->nr++] = before->all[at++];
		else
			meet(&found->all[found->nr++], dirfd(proc), entry->d_name, pid);
	}
	while (at < before->nr)
		lose(&before->all[at++]);
	known = found;
}

/* The pid that was given last; 0 if the kernel does not say. */
static pid_t last_pid(int loadavg)
{
	const char *last;
	char text[128];
	ssize_t length;

	length = pread(loadavg, text, sizeof(text) - 1, 0);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	last = strrchr(text, ' ');
	return last ? (pid_t)strtol(last, NULL, 10) : 0;
}

/* Forgets which processes need no look: their pids may belong to others by now. */
static void forget_all(void)
{
	unsigned int i;

	for (i = 0; i < known->nr; i++)
		lose(&known->all[i]);
	known->nr = 0;
}

/*
 * Knows all processes afterwards. A process has its pid a moment before the folder
 * shows it: so it is read once more after the last one that was started. Whether
 * one was.
 */
static bool find_processes(DIR *proc, int loadavg, long long time)
{
	static long long searched = -SEARCH_NS;
	static pid_t before;
	static bool again;
	pid_t last = last_pid(loadavg);
	bool started = last != before || last == 0;

	if (last < before)
		forget_all();
	if (started || again || time - searched >= SEARCH_NS) {
		search(proc);
		searched = time;
	}
	again = started;
	before = last;
	return started;
}

/* The process's statm in place of its folder, if it is an app's by now. */
static void recognize(struct process *process)
{
	struct stat status;
	int folder = process->file;

	if (fstat(folder, &status) < 0 || status.st_uid < FIRST_APP || status.st_uid > LAST_APP)
		return;
	process->user = find_user(status.st_uid);
	process->file = openat(folder, "statm", O_RDONLY | O_CLOEXEC);
	close(folder);
}

static void look_at(struct process *process, unsigned long page_size)
{
	unsigned long size, resident;

	if (process->file >= 0 && !process->user)
		recognize(process);
	if (process->file < 0 || !process->user)
		return;
	if (read_statm(process->file, &size, &resident) && size > 0)
		process->user->rss += resident * page_size;
	else
		lose(process);
}

static void look(unsigned long page_size)
{
	unsigned int i;

	for (i = 0; i < nr_users; i++)
		users[i].rss = 0;
	for (i = 0; i < known->nr; i++)
		look_at(&known->all[i], page_size);
}

static void say_unsaid(void)
{
	if (unsaid_length)
		say_lines(unsaid, unsaid_length);
	unsaid_length = 0;
}

static void note(const struct user *user, long long time)
{
	char line[128];
	int length;

	length = snprintf(line, sizeof(line), "usage: time=%lld.%06lld, uid=%u, rss=%lu\n",
			  time / NS_PER_SEC, time % NS_PER_SEC / 1000,
			  (unsigned int)user->uid, user->rss);
	if (unsaid_length + (size_t)length > sizeof(unsaid))
		say_unsaid();
	if (!unsaid_length)
		unsaid_since = time;
	memcpy(unsaid + unsaid_length, line, (size_t)length);
	unsaid_length += (size_t)length;
}

/* Whether anything has changed. */
static bool note_changes(long long time)
{
	bool changed = false;
	unsigned int i;

	for (i = 0; i < nr_users; i++) {
		if (users[i].rss == users[i].said)
			continue;
		users[i].said = users[i].rss;
		note(&users[i], time);
		changed = true;
	}
	return changed;
}

/*
 * How long the pause is after a look at @time that took @spent of a CPU. What looks
 * may take grows with the time; where more was spent, the pause lasts until it is paid.
 */
static long long pause_after(long long time, long long spent, long long interval)
{
	static long long saved = MOST_SAVED_NS, before;

	if (before)
		saved += (time - before) / SHARE;
	if (saved > MOST_SAVED_NS)
		saved = MOST_SAVED_NS;
	before = time;
	saved -= spent;
	return -saved * SHARE > interval ? -saved * SHARE : interval;
}

static void watch(DIR *proc, int loadavg, long long interval, bool for_ever,
		  unsigned long count)
{
	unsigned long page_size = (unsigned long)sysconf(_SC_PAGESIZE), looks;
	long long time, spent, pause, lively = 0;
	bool started;

	for (looks = 0; for_ever || looks < count; looks++) {
		time = now_ns(CLOCK_MONOTONIC);
		spent = now_ns(CLOCK_PROCESS_CPUTIME_ID);
		started = find_processes(proc, loadavg, time);
		look(page_size);
		if (note_changes(time) || started)
			lively = time + LIVELY_NS;
		pause = time < lively ? interval / OFTENER : interval;
		spent = now_ns(CLOCK_PROCESS_CPUTIME_ID) - spent;
		pause = pause_after(time, spent, pause);
		/* Not one by one: to bring them to the host takes longer than to look. */
		if (time + pause - unsaid_since >= interval)
			say_unsaid();
		sleep_ns(pause);
	}
	say_unsaid();
}

/* Room for a file of each process. */
static void allow_files(void)
{
	struct rlimit files = {
		.rlim_cur = MOST_PROCESSES + OTHER_FILES,
		.rlim_max = MOST_PROCESSES + OTHER_FILES,
	};

	if (setrlimit(RLIMIT_NOFILE, &files) == 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
		return;
	/* Nobody but root may have more than the second. */
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
	unsigned long interval, count = 0;
	bool for_ever = true;
	int option, loadavg;
	DIR *proc;

	program_name = "watch_memory";
	while ((option = getopt(argc, argv, "+hc:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'c':
			for_ever = false;
			if (parse_ulong(optarg, &count) && count > 0)
				break;
			complain("not a count: %s", optarg);
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	if (argc - optind != 1) {
		complain("wants an interval");
		return refuse(usage);
	}
	if (!parse_seconds(argv[optind], &interval) || interval == 0) {
		complain("not an interval in seconds: %s", argv[optind]);
		return refuse(usage);
	}
	proc = opendir("/proc");
	if (!proc) {
		complain("/proc: %s", strerror(errno));
		return EXIT_UNEXPECTED;
	}
	/* Where it is not there, all processes are searched for at each look. */
	loadavg = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	allow_files();
	signal(SIGTERM, end_now);
	signal(SIGINT, end_now);
	watch(proc, loadavg, (long long)interval * 1000000LL, for_ever, count);
	closedir(proc);
	return EXIT_EXPECTED;
}
