/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hogs: children that take memory, hold it, and are watched by their parent.
 *
 * hog_args.c reads what to do, hog.c does it, hog_child.c is what each child
 * does, hog_main.c tells the story and judges it.
 */
#ifndef MM_LIMITS_HOG_H
#define MM_LIMITS_HOG_H

#include <stdbool.h>
#include <sys/types.h>

/* A process name's bytes, with its NUL: the kernel's TASK_COMM_LEN. */
#define HOG_NAME_SIZE	16

/* What the first thread of a child does while another one does the child's work. */
enum hog_leader {
	HOG_LEADER_WORKS,		/* itself: there is no other thread */
	HOG_LEADER_WAITS,
	HOG_LEADER_EXITS,
};

/* What one child is to do. */
struct hog_spec {
	unsigned long size;		/* bytes to allocate */
	unsigned long cpu_ms;		/* CPU time to use up before that */
	enum hog_leader leader;
	bool is_sharer;			/* of the memory of the child before it */
	bool reads;			/* its memory is what a single read() reads into */
	bool has_uid;
	uid_t uid;			/* who it is from its beginning on */
	bool has_later_uid;
	uid_t later_uid;		/* who it is once it has its memory */
	bool has_adj;
	int adj;			/* oom_score_adj */
	bool has_name;
	char name[HOG_NAME_SIZE];
};

/* How one of the programs differs from the other. */
struct hog_flavour {
	const char *name;
	const char *usage;
	/* Whether a killer that comes around every now and then is waited for. */
	bool waits_for_daemon;
};

struct hog_options {
	const char *marker;
	uid_t uid;			/* whose limit it is */
	unsigned long limit;		/* bytes; 0: the children are bystanders */
	bool set_limit;
	bool together;			/* all children allocate at the same time */
	unsigned long settle_ms;
	unsigned long wait_ms;		/* for the daemon's first kill */
	unsigned long timeout_ms;	/* of the whole run */
	const char *zeros;		/* the file for children that read */
	const char *until;		/* hold until this file exists; NULL: don't */
	const char *expected;		/* one of "LKF?" a child; NULL: see hog_main.c */
	unsigned int count;
	struct hog_spec *specs;
};

enum hog_outcome {
	HOG_LIVED,			/* until it was told to end */
	HOG_KILLED,			/* by a SIGKILL that is not ours */
	HOG_FAILED,			/* malloc() said no */
	HOG_OTHER,
};

struct hog_result {
	pid_t pid;			/* 0 if it could not be started */
	int status;			/* as of waitpid() */
	enum hog_outcome outcome;
};

/*
 * Reads the arguments into @options, whose specs are allocated. Returns -1, or
 * the status to exit with after -h or a mistake, about which it has complained.
 */
int hog_parse(const struct hog_flavour *flavour, int argc, char **argv,
	      struct hog_options *options);

/* Runs the children to their end and fills in @results, one for each. */
void hog_run(const struct hog_options *options, struct hog_result *results);

/* All of a program but its name. */
int hog_main(const struct hog_flavour *flavour, int argc, char **argv);

#endif
