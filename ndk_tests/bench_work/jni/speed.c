// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long it takes to get memory. Nothing is printed before the last run is
 * over: where the clock counts instructions, those of the output would count.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "output.h"

static unsigned long long times[BENCH_MOST_RUNS];

static unsigned int say_times(const char *what, unsigned long runs, unsigned long units)
{
	unsigned long run;

	for (run = 0; run < runs; run++)
		say("time: what=%s, run=%lu, units=%lu, ns=%llu", what, run, units, times[run]);
	return (unsigned int)runs;
}

static void touch(volatile char *memory, unsigned long pages)
{
	unsigned long size = bench_page_size();
	unsigned long page;

	for (page = 0; page < pages; page++)
		memory[page * size] = 1;
}

unsigned int bench_touch(const struct bench_options *options)
{
	unsigned long long begin;
	unsigned long run;

	for (run = 0; run < options->runs; run++) {
		char *memory = bench_map(options->pages);

		if (!memory)
			return 0;
		begin = bench_ns();
		touch(memory, options->pages);
		times[run] = bench_ns() - begin;
		munmap(memory, options->pages * bench_page_size());
	}
	return say_times("touch", options->runs, options->pages);
}

/* A pipe whose end of file opens a gate: however many wait, one close() is enough. */
struct gate {
	int wait, open;
};

static bool make_gate(struct gate *gate)
{
	int ends[2];

	if (pipe(ends) < 0) {
		complain("pipe: %s", strerror(errno));
		return false;
	}
	gate->wait = ends[0];
	gate->open = ends[1];
	return true;
}

static void wait_at(int fd)
{
	char byte;

	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
}

struct thread {
	pthread_t id;
	int gate;
	char *memory;
	unsigned long pages;
};

static void *run_thread(void *argument)
{
	const struct thread *thread = argument;

	wait_at(thread->gate);
	touch(thread->memory, thread->pages);
	return NULL;
}

/* The threads' memory is one mapping, so that they fault in one mm and one VMA. */
static bool storm_once(const struct bench_options *options, unsigned long long *ns)
{
	static struct thread threads[BENCH_MOST_THREADS];
	unsigned long size = options->pages * bench_page_size();
	unsigned long long begin;
	unsigned long index, started = 0;
	struct gate gate;
	char *memory;
	int error = 0;

	memory = bench_map(options->pages * options->processes);
	if (!memory)
		return false;
	if (!make_gate(&gate)) {
		munmap(memory, size * options->processes);
		return false;
	}
	for (index = 0; index < options->processes && !error; index++) {
		threads[index].gate = gate.wait;
		threads[index].memory = memory + index * size;
		threads[index].pages = options->pages;
		error = pthread_create(&threads[index].id, NULL, run_thread, &threads[index]);
		started += !error;
	}
	begin = bench_ns();
	close(gate.open);
	for (index = 0; index < started; index++)
		pthread_join(threads[index].id, NULL);
	*ns = bench_ns() - begin;
	close(gate.wait);
	munmap(memory, size * options->processes);
	if (error)
		complain("pthread_create: %s", strerror(error));
	return !error;
}

unsigned int bench_storm(const struct bench_options *options)
{
	unsigned long run;

	for (run = 0; run < options->runs; run++) {
		if (!storm_once(options, &times[run]))
			return 0;
	}
	return say_times("storm", options->runs, options->pages * options->processes);
}

unsigned int bench_fork(const struct bench_options *options)
{
	unsigned long long begin;
	unsigned long run, count;

	for (run = 0; run < options->runs; run++) {
		begin = bench_ns();
		for (count = 0; count < options->processes; count++) {
			pid_t pid = fork();

			if (pid == 0)
				_exit(0);
			if (pid < 0) {
				complain("fork: %s", strerror(errno));
				return 0;
			}
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
		}
		times[run] = bench_ns() - begin;
	}
	return say_times("fork", options->runs, options->processes);
}

static void __attribute__((noreturn)) be_worker(const struct bench_options *options,
						struct gate gate, struct gate answer,
						struct gate end)
{
	char *memory = bench_map(options->pages);

	/* Others' ends of what it waits for would keep it from ever ending. */
	close(gate.open);
	close(end.open);
	if (!memory || write(answer.open, "r", 1) != 1)
		_exit(EXIT_UNEXPECTED);
	wait_at(gate.wait);
	touch(memory, options->pages);
	if (write(answer.open, "f", 1) != 1)
		_exit(EXIT_UNEXPECTED);
	wait_at(end.wait);
	_exit(0);
}

/* Whether an answer came from each of @count. */
static bool all_answer(int fd, unsigned long count)
{
	char answers[64];

	while (count > 0) {
		ssize_t got = read(fd, answers, count < sizeof(answers) ? count : sizeof(answers));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		count -= (unsigned long)got;
	}
	return true;
}

/* From the opening of the gate until the last process has touched all of its memory. */
static bool work_once(const struct bench_options *options, unsigned long long *ns)
{
	struct gate gate, answer, end;
	unsigned long long begin;
	unsigned long started;
	bool good = true;

	if (!make_gate(&gate) || !make_gate(&answer) || !make_gate(&end))
		return false;
	for (started = 0; started < options->processes && good; started++) {
		pid_t pid = bench_child();

		if (pid == 0)
			be_worker(options, gate, answer, end);
		good = pid > 0;
	}
	/* If one dies its answer does not come, and this must end when all have died. */
	close(answer.open);
	good = good && all_answer(answer.wait, options->processes);
	begin = bench_ns();
	close(gate.open);
	good = good && all_answer(answer.wait, options->processes);
	*ns = bench_ns() - begin;
	close(end.open);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	close(gate.wait);
	close(answer.wait);
	close(end.wait);
	if (!good)
		complain("a process did not come to its end");
	return good;
}

unsigned int bench_work(const struct bench_options *options)
{
	unsigned long run;

	for (run = 0; run < options->runs; run++) {
		if (!work_once(options, &times[run]))
			return 0;
	}
	return say_times("work", options->runs, options->pages * options->processes);
}

/* A limit that is set has its user looked at. */
unsigned int bench_look(const struct bench_options *options)
{
	unsigned long long begin;
	unsigned long run, count;

	for (run = 0; run < options->runs; run++) {
		begin = bench_ns();
		for (count = 0; count < options->processes; count++) {
			if (!bench_limit(options->uid, options->limit))
				return 0;
		}
		times[run] = bench_ns() - begin;
	}
	return say_times("look", options->runs, options->processes);
}

unsigned int bench_hold(const struct bench_options *options)
{
	char *memory = bench_map(options->pages);

	if (!memory)
		return 0;
	touch(memory, options->pages);
	say("idle: pid=%d, processes=1", (int)getpid());
	for (;;)
		pause();
}

/* Holds processes that do nothing until it is killed. */
unsigned int bench_idle(const struct bench_options *options)
{
	unsigned long started;

	signal(SIGCHLD, SIG_IGN);
	for (started = 0; started < options->processes; started++) {
		pid_t pid = bench_child();

		if (pid < 0)
			return 0;
		if (pid == 0) {
			for (;;)
				pause();
		}
	}
	say("idle: pid=%d, processes=%lu", (int)getpid(), started);
	for (;;)
		pause();
}
