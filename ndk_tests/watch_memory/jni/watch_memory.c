// SPDX-License-Identifier: GPL-2.0-only
/*
 * Says, over time, what the processes of each app use together. It asks /proc and
 * not the limits' own file: reading that has the kernel count again, and what is
 * tested is whether it does so by itself.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "output.h"

/* Android's apps. */
#define FIRST_APP	10000
#define LAST_APP	19999
#define MOST_USERS	64
/* Of the time that goes by, one in so many parts may be spent on looking. */
#define SHARE		20
#define NS_PER_SEC	1000000000LL

static const char usage[] =
	"usage: watch_memory [-c COUNT] SECONDS\n"
	"Looks every SECONDS (at least 0.001; less often where looking takes long) at what\n"
	"the processes of each app (uids 10000 to 19999) use together, and says what has\n"
	"changed. Memory that processes share counts for each of them.\n"
	"  -c COUNT  end after COUNT looks (default: go on for ever)\n";

struct user {
	uid_t uid;
	unsigned long rss;
	unsigned long said;
};

static struct user users[MOST_USERS];
static unsigned int nr_users;

static void end_now(int number)
{
	(void)number;
	/* Nothing is buffered: there is nothing to clean up. */
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

/* Pages in memory of the process whose folder is @process; 0 if it is gone. */
static unsigned long resident_pages(int process)
{
	unsigned long pages = 0;
	char text[128];
	ssize_t length;
	int file;

	file = openat(process, "statm", O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	length = read(file, text, sizeof(text) - 1);
	close(file);
	if (length <= 0)
		return 0;
	text[length] = '\0';
	return sscanf(text, "%*u %lu", &pages) == 1 ? pages : 0;
}

static void add_process(int proc, const char *name, unsigned long page_size)
{
	struct stat status;
	struct user *user;
	int process;

	process = openat(proc, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (process < 0)
		return;
	if (fstat(process, &status) == 0 && status.st_uid >= FIRST_APP &&
	    status.st_uid <= LAST_APP) {
		user = find_user(status.st_uid);
		if (user)
			user->rss += resident_pages(process) * page_size;
	}
	close(process);
}

static void look(DIR *proc, unsigned long page_size)
{
	const struct dirent *entry;
	unsigned int i;

	for (i = 0; i < nr_users; i++)
		users[i].rss = 0;
	rewinddir(proc);
	while ((entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]))
			add_process(dirfd(proc), entry->d_name, page_size);
}

static void say_changes(long long time)
{
	unsigned int i;

	for (i = 0; i < nr_users; i++) {
		if (users[i].rss == users[i].said)
			continue;
		users[i].said = users[i].rss;
		say("usage: time=%lld.%06lld, uid=%u, rss=%lu", time / NS_PER_SEC,
		    time % NS_PER_SEC / 1000, (unsigned int)users[i].uid, users[i].rss);
	}
}

static void watch(DIR *proc, long long interval, bool for_ever, unsigned long count)
{
	unsigned long page_size = (unsigned long)sysconf(_SC_PAGESIZE), looks;
	long long time, spent;

	for (looks = 0; for_ever || looks < count; looks++) {
		time = now_ns(CLOCK_MONOTONIC);
		spent = now_ns(CLOCK_PROCESS_CPUTIME_ID);
		look(proc, page_size);
		say_changes(time);
		spent = (now_ns(CLOCK_PROCESS_CPUTIME_ID) - spent) * (SHARE - 1);
		sleep_ns(spent > interval ? spent : interval);
	}
}

int main(int argc, char **argv)
{
	unsigned long interval, count = 0;
	bool for_ever = true;
	int option;
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
	signal(SIGTERM, end_now);
	signal(SIGINT, end_now);
	watch(proc, (long long)interval * 1000000LL, for_ever, count);
	closedir(proc);
	return EXIT_EXPECTED;
}
