// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parent: starts the children, sees how each does, and ends them. Those that
 * share a child's memory are started by it, and are children of the parent, too.
 *
 * Every child has a pipe to answer through; its end of file says that the child
 * died, at whatever point that was. Two pipes that all children read from say by
 * their end of file that they may allocate (the gate) and that they are to end.
 * Nothing here waits for longer than the deadline, and a short grace behind it.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hog.h"
#include "hog_child.h"
#include "output.h"

/* How often to look whether the file is there. */
#define FILE_POLL_MS	10
/* What a child may take to end when all have been told to, and one has. A test sets less. */
#ifndef GRACE_MS
#define GRACE_MS	10000
#endif
/* When to give up altogether, behind the deadline: a parent that is stuck dies. */
#define ALARM_SECONDS	60

#define READ_END	0
#define WRITE_END	1

enum hog_state {
	STATE_STARTED,
	STATE_READY,
	STATE_FINISHED,
	STATE_ENDED,
};

struct hog {
	const struct hog_spec *spec;
	struct hog_result *result;
	enum hog_state state;
	int answer;			/* what it writes into, to be read; -1 once it is gone */
	bool ended_by_us;
};

struct run {
	const struct hog_options *options;
	struct hog *hogs;
	struct pollfd *polled;		/* the answers of those who are not gone */
	int *writable;			/* what those write into who are being started */
	pid_t *pids;			/* who they are; children write it, too */
	int gate[2];
	int end[2];
	uint64_t deadline;
};

/* Milliseconds of a clock that nobody sets. */
static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000 + (uint64_t)(time.tv_nsec / 1000000);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* A failure after which nothing can be known. The children die with us. */
static void give_up(const char *what)
{
	complain("%s: %s", what, strerror(errno));
	exit(EXIT_UNEXPECTED);
}

static void *allocate(size_t count, size_t size)
{
	void *memory = calloc(count, size);

	if (!memory)
		give_up("calloc");
	return memory;
}

/* Memory that children share with us. */
static void *allocate_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		give_up("mmap");
	return memory;
}

static enum hog_outcome outcome_of(const struct hog *hog)
{
	int status = hog->result->status;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !hog->ended_by_us)
		return HOG_KILLED;
	if (WIFEXITED(status) && WEXITSTATUS(status) == HOG_EXIT_ENDED)
		return HOG_LIVED;
	if (WIFEXITED(status) && WEXITSTATUS(status) == HOG_EXIT_MALLOC)
		return HOG_FAILED;
	return HOG_OTHER;
}

static void reap(struct run *run, struct hog *hog)
{
	close(hog->answer);
	hog->answer = -1;
	hog->state = STATE_ENDED;
	hog->result->pid = run->pids[hog - run->hogs];
	/* The child that was to start it has died before that. */
	if (hog->result->pid == 0)
		return;
	while (waitpid(hog->result->pid, &hog->result->status, 0) < 0) {
		if (errno != EINTR)
			give_up("waitpid");
	}
	hog->result->outcome = outcome_of(hog);
}

/* Takes in what a child wrote; returns whether it has died. */
static bool hear(struct run *run, struct hog *hog)
{
	char message;
	ssize_t got = read(hog->answer, &message, 1);

	if (got < 0 && errno == EINTR)
		return false;
	if (got <= 0) {
		reap(run, hog);
		return true;
	}
	hog->state = message == HOG_FINISHED ? STATE_FINISHED : STATE_READY;
	return false;
}

/*
 * Waits until a child does something, but not beyond @until (as of now()).
 * Returns whether one has died.
 */
static bool listen_until(struct run *run, uint64_t until)
{
	uint64_t time = now();
	uint64_t left = until > time ? until - time : 0;
	unsigned int index, count = 0, next = 0;
	bool died = false;

	for (index = 0; index < run->options->count; index++) {
		if (run->hogs[index].answer >= 0)
			run->polled[count++] = (struct pollfd){
				.fd = run->hogs[index].answer,
				.events = POLLIN,
			};
	}
	if (poll(run->polled, count, (int)earlier(left, INT_MAX)) < 0) {
		if (errno != EINTR)
			give_up("poll");
		return false;
	}
	for (index = 0; next < count; index++) {
		if (run->hogs[index].answer >= 0 && run->polled[next++].revents != 0)
			died |= hear(run, &run->hogs[index]);
	}
	return died;
}

static bool all_reached(const struct run *run, unsigned int first, unsigned int last,
			enum hog_state state)
{
	unsigned int index;

	for (index = first; index <= last; index++) {
		if (run->hogs[index].state < state)
			return false;
	}
	return true;
}

/* Waits until the children from @first to @last are in @state, or dead. */
static void await(struct run *run, unsigned int first, unsigned int last,
		  enum hog_state state, uint64_t until)
{
	while (!all_reached(run, first, last, state) && now() < until)
		listen_until(run, until);
}

/* Runs in the new child, the first of @count. */
static void become_child(const struct run *run, unsigned int first, unsigned int count,
			 pid_t parent)
{
	const struct hog_family family = {
		.options = run->options,
		.specs = run->hogs[first].spec,
		.count = count,
		.answers = &run->writable[first],
		.pids = &run->pids[first],
		.gate = run->gate[READ_END],
		.end = run->end[READ_END],
	};
	unsigned int index;

	/* The parent may have died before it was asked for; then we have another. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		raise(SIGKILL);

	/* A pipe has its end of file when the last copy of its other end is closed. */
	if (run->gate[WRITE_END] >= 0)
		close(run->gate[WRITE_END]);
	close(run->end[WRITE_END]);
	for (index = 0; index < first + count; index++) {
		if (run->hogs[index].answer >= 0)
			close(run->hogs[index].answer);
	}
	hog_child(&family);
}

/* How many there are from @first on that share the memory of the first. */
static unsigned int family_of(const struct run *run, unsigned int first)
{
	unsigned int next = first + 1;

	while (next < run->options->count && run->hogs[next].spec->is_sharer)
		next++;
	return next - first;
}

static bool open_answers(struct run *run, unsigned int first, unsigned int count)
{
	unsigned int index;
	int answer[2];

	for (index = first; index < first + count; index++) {
		if (pipe(answer) < 0) {
			complain("child %u: pipe: %s", index, strerror(errno));
			return false;
		}
		run->hogs[index].answer = answer[READ_END];
		run->writable[index] = answer[WRITE_END];
	}
	return true;
}

/* Starts a child, and so those behind it that share its memory. Returns how many. */
static unsigned int start(struct run *run, unsigned int first)
{
	unsigned int index, count = family_of(run, first);
	pid_t pid = -1, parent = getpid();

	if (open_answers(run, first, count)) {
		pid = fork();
		if (pid == 0)
			become_child(run, first, count, parent);
		if (pid < 0)
			complain("child %u: fork: %s", first, strerror(errno));
	}
	for (index = first; index < first + count; index++) {
		struct hog *hog = &run->hogs[index];

		if (hog->answer < 0)
			break;
		close(run->writable[index]);
		hog->state = STATE_STARTED;
		if (pid > 0)
			continue;
		close(hog->answer);
		hog->answer = -1;
		hog->state = STATE_ENDED;
	}
	if (pid > 0)
		run->pids[first] = pid;
	return count;
}

static void open_gate(struct run *run)
{
	close(run->gate[WRITE_END]);
	run->gate[WRITE_END] = -1;
}

static void allocate_in_turn(struct run *run)
{
	unsigned int index, count;

	open_gate(run);
	for (index = 0; index < run->options->count && now() < run->deadline; index += count) {
		count = start(run, index);
		await(run, index, index + count - 1, STATE_FINISHED, run->deadline);
	}
}

static void allocate_together(struct run *run)
{
	unsigned int last = run->options->count - 1;
	unsigned int index;

	for (index = 0; index <= last; index++)
		start(run, index);
	await(run, 0, last, STATE_READY, run->deadline);
	if (!all_reached(run, 0, last, STATE_READY))
		return;
	open_gate(run);
	await(run, 0, last, STATE_FINISHED, run->deadline);
}

static unsigned int count_killed(const struct run *run)
{
	unsigned int index, killed = 0;

	for (index = 0; index < run->options->count; index++) {
		if (run->hogs[index].state == STATE_ENDED &&
		    run->hogs[index].result->outcome == HOG_KILLED)
			killed++;
	}
	return killed;
}

static unsigned int count_alive(const struct run *run)
{
	unsigned int index, alive = 0;

	for (index = 0; index < run->options->count; index++)
		alive += run->hogs[index].state != STATE_ENDED;
	return alive;
}

/*
 * Waits until no child has died for a while and, if there is a daemon to wait
 * for, until it had its time or has killed one.
 */
static void settle(struct run *run)
{
	const struct hog_options *options = run->options;
	uint64_t kill_by = now() + options->wait_ms;
	uint64_t quiet_at = now() + options->settle_ms;

	for (;;) {
		bool waiting = now() < kill_by && count_killed(run) == 0;
		uint64_t until = waiting ? kill_by : quiet_at;

		until = earlier(until, run->deadline);
		if (now() >= until)
			return;
		if (listen_until(run, until))
			quiet_at = now() + options->settle_ms;
	}
}

/* Holds the memory until the file is there, or the time is up. */
static void hold(struct run *run)
{
	const char *file = run->options->until;

	say("holding: marker=%s, alive=%u", run->options->marker, count_alive(run));
	while (file && access(file, F_OK) < 0) {
		uint64_t time = now();

		if (time >= run->deadline) {
			complain("%s has not come", file);
			return;
		}
		listen_until(run, earlier(time + FILE_POLL_MS, run->deadline));
	}
}

static void end_all(struct run *run)
{
	unsigned int index, last = run->options->count - 1;
	uint64_t until = now() + GRACE_MS;

	close(run->end[WRITE_END]);
	while (!all_reached(run, 0, last, STATE_ENDED) && now() < until) {
		if (listen_until(run, until))
			until = now() + GRACE_MS;
	}
	for (index = 0; index <= last; index++) {
		struct hog *hog = &run->hogs[index];

		if (hog->state == STATE_ENDED)
			continue;
		hog->ended_by_us = true;
		if (run->pids[index] != 0)
			kill(run->pids[index], SIGKILL);
		reap(run, hog);
	}
}

/* Whoever started us may ignore or block what is needed here. */
static void reset_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGALRM, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
}

void hog_run(const struct hog_options *options, struct hog_result *results)
{
	struct run run = { .options = options };
	unsigned int index;

	reset_signals();
	alarm((unsigned int)(options->timeout_ms / 1000) + ALARM_SECONDS);
	run.deadline = now() + options->timeout_ms;
	run.hogs = allocate(options->count, sizeof(*run.hogs));
	run.polled = allocate(options->count, sizeof(*run.polled));
	run.writable = allocate(options->count, sizeof(*run.writable));
	run.pids = allocate_shared(options->count * sizeof(*run.pids));
	for (index = 0; index < options->count; index++) {
		/* What stays so if the child cannot even be started. */
		results[index] = (struct hog_result){ .outcome = HOG_OTHER };
		run.hogs[index] = (struct hog){
			.spec = &options->specs[index],
			.result = &results[index],
			.state = STATE_ENDED,
			.answer = -1,
		};
	}
	if (pipe(run.gate) < 0 || pipe(run.end) < 0)
		give_up("pipe");

	if (options->together)
		allocate_together(&run);
	else
		allocate_in_turn(&run);
	settle(&run);
	hold(&run);
	end_all(&run);
	munmap(run.pids, options->count * sizeof(*run.pids));
	free(run.writable);
	free(run.polled);
	free(run.hogs);
}
