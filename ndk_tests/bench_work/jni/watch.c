// SPDX-License-Identifier: GPL-2.0-only
/* Looking on from outside; see bench.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "output.h"

/* How often the log's clock is compared with ours. */
#define MARKS	5
/* No record of /dev/kmsg is longer. */
#define LINE_SIZE	8193

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

unsigned long long bench_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (unsigned long long)now.tv_sec * 1000000000ULL + (unsigned long long)now.tv_nsec;
}

unsigned long bench_page_size(void)
{
	return (unsigned long)sysconf(_SC_PAGESIZE);
}

char *bench_map(unsigned long pages)
{
	char *memory = mmap(NULL, pages * bench_page_size(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory != MAP_FAILED)
		return memory;
	complain("mmap: %s", strerror(errno));
	return NULL;
}

pid_t bench_child(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid < 0)
		complain("fork: %s", strerror(errno));
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have died before. */
	if (getppid() != parent)
		_exit(EXIT_UNEXPECTED);
	return 0;
}

bool bench_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

bool bench_become(const struct bench_options *options, uid_t uid)
{
	if (options->group && !bench_write(options->group, "0")) {
		complain("%s: %s", options->group, strerror(errno));
		return false;
	}
	/* Not protected any more, unlike its parent. */
	bench_write("/proc/self/oom_score_adj", "0");
	if (getuid() != uid && (setgid(uid) < 0 || setuid(uid) < 0)) {
		complain("cannot become %u: %s", (unsigned int)uid, strerror(errno));
		return false;
	}
	/* A change of the user undoes it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	return true;
}

void bench_look_on(void)
{
	struct sched_param param = { .sched_priority = 1 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Neither is for everybody; a host's test does without. */
	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param);
	bench_write("/proc/self/oom_score_adj", "-1000");
}

unsigned int bench_repeat(const struct bench_options *options,
			  bool (*once)(const struct bench_options *options, unsigned long number))
{
	unsigned int good = 0;
	unsigned long run;

	bench_look_on();
	for (run = 0; run < options->runs; run++)
		good += once(options, run);
	return good;
}

bool bench_limit(uid_t uid, unsigned long pages)
{
	char line[64];

	if (pages)
		snprintf(line, sizeof(line), "uid=%u max=%lu", (unsigned int)uid,
			 pages * bench_page_size());
	else
		snprintf(line, sizeof(line), "uid=%u max=none", (unsigned int)uid);
	if (bench_write("/proc/mm_limits", line))
		return true;
	complain("cannot set a limit: %s", strerror(errno));
	return false;
}

unsigned long bench_resident(pid_t pid)
{
	unsigned long kilobytes = 0, more;
	char path[64], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Rss: %lu kB", &more) == 1)
			kilobytes += more;
	}
	fclose(file);
	return kilobytes * 1024 / bench_page_size();
}

/* One read, which a signal does not end; 0 or less: there is nothing, for now or for good. */
static ssize_t read_log(int fd, char *bytes, size_t size)
{
	ssize_t got;

	do {
		got = read(fd, bytes, size);
		/* EPIPE: what was next has been overwritten. */
	} while (got < 0 && (errno == EINTR || errno == EPIPE));
	return got;
}

/* A record, "PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT"; its text, or NULL. */
static const char *next_record(int fd, char *line, size_t size, unsigned long long *ns)
{
	unsigned long long microseconds;
	ssize_t got = read_log(fd, line, size - 1);
	char *text;

	if (got <= 0)
		return NULL;
	line[got] = '\0';
	text = strchr(line, ';');
	if (!text || sscanf(line, "%*u,%*u,%llu", &microseconds) != 1)
		return "";
	*ns = microseconds * 1000;
	return text + 1;
}

/* A line, "<PRIORITY>[SECONDS.MICROSECONDS] TEXT"; its text, or NULL. */
static const char *next_old_line(int fd, char *line, size_t size, unsigned long long *ns)
{
	unsigned long long seconds, microseconds;
	size_t length = 0;
	char *text;

	while (length < size - 1 && read_log(fd, line + length, 1) == 1) {
		if (line[length++] == '\n')
			break;
	}
	if (length == 0)
		return NULL;
	line[length] = '\0';
	text = strstr(line, "] ");
	if (!text || sscanf(line, "<%*u>[%llu.%llu]", &seconds, &microseconds) != 2)
		return "";
	*ns = seconds * 1000000000ULL + microseconds * 1000;
	return text + 2;
}

/* The text of the log's next line, and when that was by the log's clock; NULL: there is none. */
static const char *next_line(const struct bench_log *log, char *line, unsigned long long *ns)
{
	return log->old ? next_old_line(log->fd, line, LINE_SIZE, ns) :
			  next_record(log->fd, line, LINE_SIZE, ns);
}

/*
 * Puts a mark into the log and finds it there: between @before and @after, by
 * CLOCK_MONOTONIC, the log's clock was at @logged.
 */
static bool mark_log(const struct bench_log *log, unsigned long long *before,
		     unsigned long long *after, unsigned long long *logged)
{
	char mark[64], line[LINE_SIZE];
	const char *text;
	size_t length;

	*before = bench_ns();
	/*
	 * KERN_NOTICE: nobody who reads the log for trouble looks at it. Without a
	 * line end it would not be there to be read before the next line.
	 */
	snprintf(mark, sizeof(mark), "<5>bench_work: %d begins at %llu\n", (int)getpid(), *before);
	length = strlen(mark);
	*before = bench_ns();
	if (write(log->marks, mark, length) != (ssize_t)length)
		return false;
	*after = bench_ns();
	while ((text = next_line(log, line, logged)) != NULL) {
		/* Without the level before it, and the line end. */
		if (strncmp(text, mark + 3, length - 4) == 0)
			return true;
	}
	return false;
}

/* Opens the log behind all that is in it; returns whether it can be read. */
static bool open_at_end(struct bench_log *log)
{
	char line[LINE_SIZE];

	log->fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(log->fd, 0, SEEK_END);
	log->old = read_log(log->fd, line, sizeof(line)) < 0 && errno == EINVAL;
	if (!log->old)
		return log->fd >= 0;
	/* Before 3.5 it can only be written to. What is read here is not there for others. */
	close(log->fd);
	log->fd = open("/proc/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	while (read_log(log->fd, line, sizeof(line)) > 0)
		;
	return log->fd >= 0;
}

/* Finds out what the log's clock is to ours; returns whether it could. */
static bool compare_clocks(struct bench_log *log)
{
	unsigned long long before, after, logged, best = ~0ULL;
	unsigned int mark;

	/* Who is taken off the CPU meanwhile measures that; the closest is the best. */
	for (mark = 0; mark < MARKS; mark++) {
		if (!mark_log(log, &before, &after, &logged))
			return false;
		if (after - before >= best)
			continue;
		best = after - before;
		log->offset = (long long)(before + best / 2) - (long long)logged;
	}
	return true;
}

void bench_log_open(struct bench_log *log)
{
	log->marks = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (!open_at_end(log) || !compare_clocks(log))
		bench_log_close(log);
}

/* Whether @text is about the kill of @pid, and by whom. */
static const char *killer_in(const char *text, pid_t pid)
{
	char word[64];

	snprintf(word, sizeof(word), "pid=%d,", (int)pid);
	if (strstr(text, "uRSS=") && strstr(text, word))
		return "mm_limits";
	/* Before 5.3 the line with the reason says "Kill process", and comes first. */
	if (strstr(text, "Memory cgroup out of memory")) {
		snprintf(word, sizeof(word), " process %d (", (int)pid);
		return strstr(text, word) ? "memcg" : NULL;
	}
	snprintf(word, sizeof(word), "Killed process %d (", (int)pid);
	return strstr(text, word) ? "system" : NULL;
}

bool bench_log_find(struct bench_log *log, const pid_t *pids, unsigned long count,
		    struct bench_record *record)
{
	char line[LINE_SIZE];
	unsigned long long logged = 0;
	unsigned long index;
	const char *text;

	if (log->fd < 0)
		return false;
	while ((text = next_line(log, line, &logged)) != NULL) {
		for (index = 0; index < count; index++) {
			record->killer = killer_in(text, pids[index]);
			if (!record->killer)
				continue;
			record->pid = pids[index];
			record->ns = (unsigned long long)((long long)logged + log->offset);
			return true;
		}
	}
	return false;
}

void bench_log_close(struct bench_log *log)
{
	if (log->fd >= 0)
		close(log->fd);
	if (log->marks >= 0)
		close(log->marks);
	log->fd = -1;
	log->marks = -1;
}
