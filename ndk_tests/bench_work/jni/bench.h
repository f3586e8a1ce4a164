/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of bench_work have agreed on. */
#ifndef MM_LIMITS_BENCH_H
#define MM_LIMITS_BENCH_H

#include <stdbool.h>
#include <sys/types.h>

#define BENCH_MOST_PROCESSES	4000
#define BENCH_MOST_THREADS	64
#define BENCH_MOST_RUNS		1000
#define BENCH_MOST_PAGES	(1UL << 18)

/* What the command line says; a command takes what it needs. */
struct bench_options {
	const char *marker;	/* repeated in the last line */
	const char *group;	/* the cgroup.procs that a child writes itself to, or NULL */
	unsigned long timeout;	/* ms to wait for a kill */
	uid_t uid;		/* whose the children of overshoot and crowd are */
	unsigned long limit;	/* pages, that somebody else has set */
	unsigned long processes;
	unsigned long pages;	/* for each process */
	unsigned long runs;
};

/* speed.c: each prints a line for each run, and returns how many went well. */
unsigned int bench_touch(const struct bench_options *options);
unsigned int bench_storm(const struct bench_options *options);
unsigned int bench_fork(const struct bench_options *options);
unsigned int bench_work(const struct bench_options *options);
unsigned int bench_look(const struct bench_options *options);

/* These hold memory or processes until they are killed. */
unsigned int bench_hold(const struct bench_options *options);
unsigned int bench_idle(const struct bench_options *options);

/* kills.c */
unsigned int bench_overshoot(const struct bench_options *options);
unsigned int bench_crowd(const struct bench_options *options);

/* others.c: what others feel of it. */
unsigned int bench_bystander(const struct bench_options *options);
unsigned int bench_pipe(const struct bench_options *options);

/* watch.c: looking on from outside. */

/* CLOCK_MONOTONIC. */
unsigned long long bench_ns(void);

unsigned long bench_page_size(void);

/* Anonymous memory that nobody has touched; NULL, with a complaint, if there is none. */
char *bench_map(unsigned long pages);

/* A new process that dies with this one; -1, with a complaint, if there is none. */
pid_t bench_child(void);

/* Writes @text to the file @path in one go. */
bool bench_write(const char *path, const char *text);

/* Becomes @uid, whom a limit may be for, and nobody special; returns whether it is. */
bool bench_become(const struct bench_options *options, uid_t uid);

/* Who looks on is on a CPU as soon as there is something to see, and is never the victim. */
void bench_look_on(void);

/* Looks on, and returns how often @once went well. */
unsigned int bench_repeat(const struct bench_options *options,
			  bool (*once)(const struct bench_options *options, unsigned long number));

/* Sets a user's limit in pages, or (0) removes it; only this project's kernels have it. */
bool bench_limit(uid_t uid, unsigned long pages);

/*
 * Resident pages of @pid, from its page tables: the counters that ps shows lag
 * behind by up to 64 faults of each thread. 0 if it is gone.
 */
unsigned long bench_resident(pid_t pid);

/* The kernel's log, from here on. */
struct bench_log {
	int fd;			/* to read; -1 where it cannot be */
	int marks;		/* to write */
	bool old;		/* whether it has lines, as before 3.5, or records */
	long long offset;	/* from the log's time to CLOCK_MONOTONIC, in ns */
};

/* Who was killed, as the log says it. */
struct bench_record {
	pid_t pid;
	unsigned long long ns;	/* when, by CLOCK_MONOTONIC; 0 if it does not say */
	const char *killer;	/* mm_limits, memcg, or system */
};

/* Both do without a log where there is none to be read. */
void bench_log_open(struct bench_log *log);
/* The first kill of one of the @count processes @pids; returns whether there is one. */
bool bench_log_find(struct bench_log *log, const pid_t *pids, unsigned long count,
		    struct bench_record *record);
void bench_log_close(struct bench_log *log);

#endif
