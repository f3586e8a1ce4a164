// SPDX-License-Identifier: GPL-2.0-only
/*
 * A child: gets ready, takes its memory, holds it.
 *
 * Those that share its memory run one after the other, while it waits: they also
 * share what the C library keeps there. So they are not to call much of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "hog_child.h"
#include "output.h"
#include "thread.h"

#define STACK_SIZE	(128UL * 1024)

#define READ_END	0
#define WRITE_END	1

/* One of a family. */
struct member {
	const struct hog_family *family;
	unsigned int index;
	/* What a sharer says to the child that started it, and what it is told. */
	int said[2];
	int told[2];
};

static const struct hog_spec *spec_of(const struct member *member)
{
	return &member->family->specs[member->index];
}

/* What getpid() keeps may be shared with the memory. */
static int own_pid(void)
{
	return (int)syscall(__NR_getpid);
}

static void tell(int fd, char message)
{
	while (write(fd, &message, 1) < 0 && errno == EINTR)
		;
}

/* Waits for one byte; returns whether it came before the end of file. */
static bool hear(int fd)
{
	char byte;
	ssize_t got;

	do {
		got = read(fd, &byte, 1);
	} while (got < 0 && errno == EINTR);
	return got > 0;
}

static void wait_for_close(int fd)
{
	while (hear(fd))
		;
}

static unsigned long cpu_time_ms(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (unsigned long)used.tv_sec * 1000 + (unsigned long)(used.tv_nsec / 1000000);
}

static void burn_cpu(unsigned long milliseconds)
{
	while (cpu_time_ms() < milliseconds) {
		volatile unsigned int turns = 10000;

		/* The time should be the program's own, not all the clock's. */
		while (turns > 0)
			turns--;
	}
}

static int write_adj(int adj)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d", adj);
	int fd = open("/proc/self/oom_score_adj", O_WRONLY);
	int ret = -1, error;

	if (fd < 0)
		return -1;
	if (write(fd, text, (size_t)length) == length)
		ret = 0;
	error = errno;
	close(fd);
	errno = error;
	return ret;
}

static int set_up(const struct hog_spec *spec)
{
	if (spec->has_name && prctl(PR_SET_NAME, (unsigned long)spec->name, 0, 0, 0) < 0)
		return -1;
	if (spec->has_adj)
		return write_adj(spec->adj);
	return 0;
}

static int become(uid_t uid)
{
	return set_thread_uids(uid, uid, uid);
}

static void __attribute__((noreturn)) fail(const struct member *member, const char *what,
					   int status)
{
	say("child process failed %s: pid=%d, uid=%u, mem=%lu, errno=%d", what, own_pid(),
	    (unsigned int)getuid(), spec_of(member)->size, errno);
	_exit(status);
}

/* Writes to every page: memory that nobody has touched is not there yet. */
static void touch(volatile char *memory, unsigned long size)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned long offset;

	for (offset = 0; offset < size; offset += page)
		memory[offset] = 1;
	memory[size - 1] = 1;
}

/* One system call for all of it; 0, or -1 with errno. */
static int read_into(char *memory, unsigned long size, const char *path)
{
	int fd = open(path, O_RDONLY);
	ssize_t got;

	if (fd < 0)
		return -1;
	errno = 0;
	got = read(fd, memory, size);
	return got >= 0 && (unsigned long)got == size ? 0 : -1;
}

static void take_memory(const struct member *member)
{
	const struct hog_spec *spec = spec_of(member);
	int pid = own_pid();
	unsigned int uid = (unsigned int)getuid();
	char *memory;

	say("child process start malloc: pid=%d, uid=%u, mem=%lu", pid, uid, spec->size);
	memory = malloc(spec->size);
	if (!memory)
		fail(member, "malloc", HOG_EXIT_MALLOC);
	if (!spec->reads)
		touch(memory, spec->size);
	else if (read_into(memory, spec->size, member->family->options->zeros) < 0)
		fail(member, "malloc", HOG_EXIT_MALLOC);
	say("child process finish malloc: pid=%d, uid=%u, mem=%lu", pid, uid, spec->size);
}

static int share(void *arg)
{
	const struct member *member = arg;
	const struct hog_family *family = member->family;
	const struct hog_spec *spec = spec_of(member);
	unsigned int index, own = member->index;
	int end = family->end;

	/* Another's answer would stay open for as long as this one lives. */
	for (index = 0; index < family->count; index++) {
		if (index == 0 || index > own)
			close(family->answers[index]);
	}
	close(member->said[READ_END]);
	close(member->told[WRITE_END]);
	if (set_up(spec) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
	    (spec->has_uid && become(spec->uid) < 0))
		fail(member, "set-up", HOG_EXIT_SETUP);
	burn_cpu(spec->cpu_ms);
	tell(member->said[WRITE_END], HOG_READY);
	if (hear(member->told[READ_END])) {
		take_memory(member);
		tell(family->answers[own], HOG_FINISHED);
		/* From here on only system calls: the others go on. */
		tell(member->said[WRITE_END], HOG_FINISHED);
	}
	wait_for_close(end);
	_exit(HOG_EXIT_ENDED);
}

/* Starts one that shares this memory, and waits until it is what it is to be. */
static void start_sharer(struct member *sharer)
{
	const struct hog_family *family = sharer->family;
	const int flags = CLONE_VM | CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD;
	char *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* A child of the program, which learns its pid before it runs. */
	if (stack == MAP_FAILED || pipe(sharer->said) < 0 || pipe(sharer->told) < 0 ||
	    clone(share, stack + STACK_SIZE, flags, sharer, &family->pids[sharer->index]) < 0)
		fail(sharer, "set-up", HOG_EXIT_SETUP);
	close(family->answers[sharer->index]);
	close(sharer->said[WRITE_END]);
	close(sharer->told[READ_END]);
	hear(sharer->said[READ_END]);
}

/* Starts all of them while this process may still do anything. */
static struct member *start_sharers(const struct hog_family *family)
{
	struct member *members = calloc(family->count, sizeof(*members));
	unsigned int index;

	if (!members)
		_exit(HOG_EXIT_SETUP);
	for (index = 0; index < family->count; index++) {
		members[index].family = family;
		members[index].index = index;
		if (index > 0)
			start_sharer(&members[index]);
	}
	return members;
}

/* All that a child does once it is what it is to be; those behind it share its memory. */
static void __attribute__((noreturn)) work(const struct member *members)
{
	const struct hog_family *family = members->family;
	const struct hog_spec *spec = spec_of(members);
	unsigned int index;

	burn_cpu(spec->cpu_ms);
	tell(family->answers[0], HOG_READY);
	wait_for_close(family->gate);
	for (index = 1; index < family->count; index++) {
		tell(members[index].told[WRITE_END], HOG_READY);
		hear(members[index].said[READ_END]);
	}
	take_memory(members);
	if (spec->has_later_uid && become(spec->later_uid) < 0)
		fail(members, "set-up", HOG_EXIT_SETUP);
	tell(family->answers[0], HOG_FINISHED);
	wait_for_close(family->end);
	_exit(HOG_EXIT_ENDED);
}

static void *work_for_leader(void *arg)
{
	const struct member *members = arg;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		fail(members, "set-up", HOG_EXIT_SETUP);
	if (spec_of(members)->leader == HOG_LEADER_EXITS && await_end_of_leader() < 0)
		fail(members, "set-up", HOG_EXIT_SETUP);
	work(members);
}

void hog_child(const struct hog_family *family)
{
	/* Not on the stack of a thread that may end. */
	static struct hog_family kept;
	const struct hog_spec *spec = family->specs;
	struct member *members;
	pthread_t thread;

	kept = *family;
	/* One that shares memory may be dead by the time when it is told something. */
	signal(SIGPIPE, SIG_IGN);
	members = start_sharers(&kept);
	if (set_up(spec) < 0 || (spec->has_uid && become(spec->uid) < 0))
		fail(members, "set-up", HOG_EXIT_SETUP);
	if (spec->leader == HOG_LEADER_WORKS)
		work(members);
	errno = pthread_create(&thread, NULL, work_for_leader, members);
	if (errno != 0)
		fail(members, "set-up", HOG_EXIT_SETUP);
	if (spec->leader == HOG_LEADER_EXITS)
		end_thread();
	for (;;)
		pause();
}
