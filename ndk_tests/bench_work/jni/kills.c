// SPDX-License-Identifier: GPL-2.0-only
/*
 * How far a user gets above its limit, as the processes themselves and their
 * parent see it: each child counts the pages that it has touched, with the time
 * of each, in memory that all share; what it had before comes from its page
 * tables. So the user's sum is known for each moment, without the kernel's word
 * for it. The kernel's log tells only when the kill was.
 *
 * When memory is free again is read from the machine's free memory, near the limit
 * every 0.1 ms. What the children have touched is added to it: only what is given back
 * changes that sum.
 *
 * The parent must not be the victim: it runs as root, and is protected.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "output.h"

/* Touches whose times are remembered, of each child. */
#define STAMPS		8192U
/* Nothing that is to come comes later than this, behind the last that came. */
#define QUIET_MS	300
#define POLL_MS		2
/* How often somebody looks, far from the limit and near it. */
#define FAR_NS		1000000ULL
#define NEAR_NS		100000ULL
/* How long memory may stay away behind its owner, who has been waited for. */
#define LATE_NS		300000000ULL
/* So much has to come back before memory is free again: the page tables do less. */
#define FREED		512U
/* What the allocator's lists for each CPU may keep of it. */
#define KEPT		1280U
#define SAMPLES		4096U

/* What a child says while it grows. 32 bits each: nobody reads half of one. */
struct growth {
	unsigned int touched;		/* pages */
	unsigned int finished;		/* whether it has all that it is to have */
	unsigned int dead;
	unsigned int padding[13];	/* a cache line for each */
};

/*
 * Shared by all. Times are in microseconds from the run's begin, and never 0.
 * The children's stamps lie behind the counters.
 */
struct board {
	unsigned int stop;
	unsigned int crossed;		/* when the sum was first above the limit */
	unsigned int base;		/* of all who live: pages before they grow */
	unsigned int padding[13];
	struct growth growths[];
};

struct child {
	pid_t pid;
	unsigned long base;		/* resident pages before it grows */
	unsigned int died;		/* when; 0 while it lives */
};

/* Memory that comes back: when, and how many pages by then. */
struct sample {
	unsigned int when;
	unsigned int pages;
};

/* The samples begin when memory is free again. */
struct freeing {
	bool near;			/* whether somebody looks often */
	unsigned long lowest;		/* free and touched pages */
	unsigned int count;
	struct sample samples[SAMPLES];
};

struct run {
	const struct bench_options *options;
	unsigned long long begin;
	volatile struct board *board;
	volatile unsigned int *stamps;
	size_t board_size;
	struct child *children;
	unsigned long base;		/* pages of all before they grow */
	unsigned long started;
	struct bench_log log;
	struct freeing freeing;
};

static unsigned int since(const struct run *run)
{
	return (unsigned int)((bench_ns() - run->begin) / 1000) + 1;
}

/* What the living have. */
static unsigned long sum_of(const struct run *run)
{
	volatile struct board *board = run->board;
	unsigned long sum = board->base;
	unsigned long index;

	for (index = 0; index < run->options->processes; index++)
		sum += board->growths[index].dead ? 0 : board->growths[index].touched;
	return sum;
}

static void grow(struct run *run, unsigned long index, volatile char *memory, unsigned long end)
{
	volatile struct board *board = run->board;
	volatile struct growth *self = &board->growths[index];
	volatile unsigned int *stamps = run->stamps + index * STAMPS;
	unsigned long size = bench_page_size();

	while (self->touched < end && !board->stop) {
		memory[self->touched * size] = 1;
		stamps[self->touched % STAMPS] = since(run);
		/* Whoever sees the count sees the time. */
		__sync_synchronize();
		self->touched++;
		if (!board->crossed && sum_of(run) > run->options->limit)
			__sync_bool_compare_and_swap(&run->board->crossed, 0, since(run));
	}
}

static void __attribute__((noreturn)) be_child(struct run *run, unsigned long index, int answer,
					       int gate)
{
	unsigned long stamp;
	char *memory, byte;

	if (!bench_become(run->options, run->options->uid))
		_exit(EXIT_UNEXPECTED);
	memory = bench_map(run->options->pages);
	if (!memory)
		_exit(EXIT_UNEXPECTED);
	/* All that it will touch beside the memory is there before it is measured. */
	for (stamp = 0; stamp < STAMPS; stamp++)
		run->stamps[index * STAMPS + stamp] = 0;
	grow(run, index, memory, 1);
	if (write(answer, "r", 1) != 1)
		_exit(EXIT_UNEXPECTED);
	while (read(gate, &byte, 1) < 0 && errno == EINTR)
		;
	grow(run, index, memory, run->options->pages);
	run->board->growths[index].finished = 1;
	for (;;)
		pause();
}

static bool make_board(struct run *run)
{
	size_t page = bench_page_size();
	size_t counters = sizeof(*run->board) +
			  run->options->processes * sizeof(run->board->growths[0]);
	void *memory;

	counters = (counters + page - 1) / page * page;
	run->board_size = counters + run->options->processes * STAMPS * sizeof(*run->stamps);
	memory = mmap(NULL, run->board_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	run->children = calloc(run->options->processes, sizeof(*run->children));
	if (memory == MAP_FAILED || !run->children) {
		complain("no memory for %lu processes", run->options->processes);
		free(run->children);
		return false;
	}
	run->board = memory;
	run->stamps = (unsigned int *)((char *)memory + counters);
	return true;
}

/* Starts the children, and waits until each is where it grows from. */
static bool start_children(struct run *run, int *gate)
{
	int answers[2], gates[2];
	unsigned long index;
	bool good = true;
	char byte;

	if (pipe(answers) < 0)
		return false;
	if (pipe(gates) < 0) {
		close(answers[0]);
		close(answers[1]);
		return false;
	}
	for (index = 0; index < run->options->processes && good; index++) {
		pid_t pid = bench_child();

		if (pid == 0) {
			close(gates[1]);
			close(answers[0]);
			be_child(run, index, answers[1], gates[0]);
		}
		good = pid > 0;
		if (good) {
			run->children[index].pid = pid;
			run->started++;
		}
	}
	close(answers[1]);
	close(gates[0]);
	for (index = 0; index < run->started && good; index++)
		good = read(answers[0], &byte, 1) == 1;
	close(answers[0]);
	*gate = gates[1];
	return good;
}

/* Measures what the children have before they grow. */
static void measure_bases(struct run *run)
{
	unsigned long index;

	for (index = 0; index < run->started; index++) {
		struct child *child = &run->children[index];

		child->base = bench_resident(child->pid);
		/* The page that it has touched already is counted elsewhere. */
		child->base -= child->base > 0;
		run->base += child->base;
	}
	run->board->base = (unsigned int)run->base;
}

/* Buries who has died; returns how many. */
static unsigned int bury(struct run *run)
{
	unsigned int count = 0;
	unsigned long index;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		unsigned int now = since(run);

		for (index = 0; index < run->started; index++) {
			if (run->children[index].pid != pid)
				continue;
			run->children[index].died = now;
			run->board->base -= (unsigned int)run->children[index].base;
			run->board->growths[index].dead = 1;
			count++;
		}
	}
	return count;
}

/* Waits until a child has died, but not longer than @milliseconds; returns how many have. */
static unsigned int wait_for_death(struct run *run, unsigned long milliseconds)
{
	unsigned long long end = bench_ns() + milliseconds * 1000000ULL;
	unsigned int count = bury(run);
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	while (count == 0) {
		unsigned long long now = bench_ns();
		struct timespec left;

		if (now >= end)
			break;
		left.tv_sec = (time_t)((end - now) / 1000000000ULL);
		left.tv_nsec = (long)((end - now) % 1000000000ULL);
		sigtimedwait(&set, NULL, &left);
		count = bury(run);
	}
	return count;
}

static unsigned long free_and_touched(const struct run *run)
{
	struct sysinfo info;
	unsigned long index, pages;

	sysinfo(&info);
	pages = (unsigned long)((unsigned long long)info.freeram * info.mem_unit /
				bench_page_size());
	for (index = 0; index < run->started; index++)
		pages += run->board->growths[index].touched;
	return pages;
}

static void look_for_free_memory(struct run *run)
{
	struct freeing *freeing = &run->freeing;
	unsigned long limit = run->options->limit;
	unsigned long pages;

	freeing->near |= sum_of(run) + limit / 16 >= limit;
	if (freeing->count == SAMPLES)
		return;
	pages = free_and_touched(run);
	/*
	 * Far from the limit the last look counts: memory of an earlier run may still come back,
	 * but on a busy host the next look may come behind the kill.
	 */
	if (!freeing->count && (!freeing->near || !freeing->lowest || pages < freeing->lowest))
		freeing->lowest = pages;
	if (!freeing->near || pages < freeing->lowest + FREED)
		return;
	freeing->samples[freeing->count].when = since(run);
	freeing->samples[freeing->count++].pages = (unsigned int)(pages - freeing->lowest);
}

/* When all of the victim's memory was free but what may be kept; 0: nobody has seen it. */
static unsigned int all_free_at(const struct run *run, unsigned long victim)
{
	unsigned int touched = run->board->growths[victim].touched;
	unsigned int wanted = touched / 2 > KEPT ? touched - KEPT : touched / 2;
	unsigned int index;

	for (index = 0; index < run->freeing.count; index++) {
		if (run->freeing.samples[index].pages >= wanted)
			return run->freeing.samples[index].when;
	}
	return 0;
}

/*
 * Waits until a child has died and its memory is free again; returns whether one has
 * died. Those that live stop then.
 */
static bool wait_for_kill(struct run *run)
{
	unsigned long long end = bench_ns() + run->options->timeout * 1000000ULL;
	struct timespec time = { 0 };
	unsigned long index, dead = run->started;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	while (bench_ns() < end && (dead == run->started || !all_free_at(run, dead))) {
		time.tv_nsec = (long)(run->freeing.near ? NEAR_NS : FAR_NS);
		sigtimedwait(&set, NULL, &time);
		look_for_free_memory(run);
		if (dead < run->started || !bury(run))
			continue;
		for (index = 0; index < run->started; index++)
			dead = run->children[index].died ? index : dead;
		run->board->stop = 1;
		end = bench_ns() + LATE_NS;
	}
	/* Who is buried has given its memory back, whatever time has passed since. */
	look_for_free_memory(run);
	return dead < run->started;
}

static void end_children(struct run *run)
{
	unsigned long index;

	run->board->stop = 1;
	for (index = 0; index < run->started; index++) {
		if (!run->children[index].died)
			kill(run->children[index].pid, SIGKILL);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static bool begin_run(struct run *run, const struct bench_options *options, int *gate)
{
	memset(run, 0, sizeof(*run));
	run->options = options;
	run->log.fd = -1;
	run->log.marks = -1;
	run->begin = bench_ns();
	if (!make_board(run))
		return false;
	if (start_children(run, gate)) {
		measure_bases(run);
		bench_log_open(&run->log);
		return true;
	}
	complain("a process did not come to its begin");
	end_children(run);
	return false;
}

static void end_run(struct run *run)
{
	end_children(run);
	bench_log_close(&run->log);
	munmap((void *)(uintptr_t)run->board, run->board_size);
	free(run->children);
}

static unsigned long index_of(const struct run *run, pid_t pid)
{
	unsigned long index;

	for (index = 0; index < run->started; index++) {
		if (run->children[index].pid == pid)
			break;
	}
	return index;
}

/* The kill that is told of first; where none is told of, who was seen to be dead first. */
static bool find_kill(struct run *run, struct bench_record *record)
{
	pid_t pids[BENCH_MOST_PROCESSES];
	unsigned long index;

	for (index = 0; index < run->started; index++)
		pids[index] = run->children[index].pid;
	if (bench_log_find(&run->log, pids, run->started, record))
		return true;
	for (index = 0; index < run->started; index++) {
		if (run->children[index].died) {
			record->pid = run->children[index].pid;
			record->ns = 0;
			record->killer = "unknown";
			return true;
		}
	}
	return false;
}

/* How many pages a child had touched at @when. */
static unsigned int touched_at(const struct run *run, unsigned long index, unsigned int when)
{
	volatile unsigned int *stamps = run->stamps + index * STAMPS;
	unsigned int touched = run->board->growths[index].touched;
	unsigned int oldest = touched > STAMPS ? touched - STAMPS : 0;

	while (touched > oldest && stamps[(touched - 1) % STAMPS] > when)
		touched--;
	return touched;
}

static unsigned int last_touch(const struct run *run, unsigned long index)
{
	return run->stamps[index * STAMPS + (run->board->growths[index].touched - 1) % STAMPS];
}

/*
 * When the limit was crossed. A kernel may kill before the page is there that
 * would have crossed it: then it is when the victim had its last page.
 */
static unsigned int crossed_at(const struct run *run, unsigned long victim)
{
	return run->board->crossed ? run->board->crossed : last_touch(run, victim);
}

/* The pages of all, dead or alive, at @when; the last moment where that is 0. */
static long all_at(const struct run *run, unsigned int when)
{
	unsigned long index;
	long sum = 0;

	for (index = 0; index < run->started; index++) {
		sum += (long)run->children[index].base;
		sum += when ? touched_at(run, index, when) : run->board->growths[index].touched;
	}
	return sum;
}

/* Until the first is dead. Returns whether somebody was killed. */
static bool overshoot_once(const struct bench_options *options, unsigned long number)
{
	struct bench_record record;
	unsigned int when, gone;
	unsigned long victim;
	struct run run;
	bool killed;
	int gate;

	if (!begin_run(&run, options, &gate))
		return false;
	close(gate);
	killed = wait_for_kill(&run);
	run.board->stop = 1;
	gone = since(&run);
	if (killed && find_kill(&run, &record)) {
		victim = index_of(&run, record.pid);
		if (run.children[victim].died)
			gone = run.children[victim].died;
		when = record.ns ? (unsigned int)((record.ns - run.begin) / 1000) + 1 : gone;
		say("kill: run=%lu, victim=%lu, pid=%d, killer=%s, base=%lu, over=%ld, crossed_us=%u, killed_us=%u, free_us=%u, all_free_us=%u, gone_us=%u, all=%d",
		    number, victim, (int)record.pid, record.killer,
		    run.base, all_at(&run, when) - (long)options->limit,
		    crossed_at(&run, victim), when,
		    run.freeing.count ? run.freeing.samples[0].when : 0,
		    all_free_at(&run, victim), gone,
		    run.board->growths[victim].finished);
	} else {
		say("no kill: run=%lu, over=%ld", number,
		    all_at(&run, 0) - (long)options->limit);
		killed = false;
	}
	end_run(&run);
	return killed;
}

static bool all_finished(const struct run *run)
{
	unsigned long index;

	for (index = 0; index < run->started; index++) {
		if (!run->children[index].died && !run->board->growths[index].finished)
			return false;
	}
	return true;
}

/*
 * Until all that still live have all that they want and are within the limit
 * together, and stay so. Returns whether that came.
 */
static bool crowd_once(const struct bench_options *options, unsigned long number)
{
	unsigned long long end, quiet;
	unsigned int deaths = 0, first, settled = 0, seen;
	struct bench_record record;
	unsigned long victim = 0;
	struct run run;
	bool within = false;
	int gate;

	if (!begin_run(&run, options, &gate))
		return false;
	close(gate);
	end = bench_ns() + options->timeout * 1000000ULL;
	quiet = bench_ns() + QUIET_MS * 1000000ULL;
	while (bench_ns() < quiet && bench_ns() < end) {
		seen = wait_for_death(&run, POLL_MS);
		if (seen > 0) {
			deaths += seen;
			settled = since(&run);
		}
		within = all_finished(&run) && sum_of(&run) <= options->limit;
		if (seen > 0 || !within)
			quiet = bench_ns() + QUIET_MS * 1000000ULL;
	}
	if (deaths > 0 && find_kill(&run, &record))
		victim = index_of(&run, record.pid);
	first = crossed_at(&run, victim);
	say("crowd: run=%lu, processes=%lu, kills=%u, within=%d, us=%u, left=%ld",
	    number, run.started, deaths, within, settled > first ? settled - first : 0,
	    (long)sum_of(&run) - (long)options->limit);
	end_run(&run);
	return within;
}

unsigned int bench_overshoot(const struct bench_options *options)
{
	return bench_repeat(options, overshoot_once);
}

unsigned int bench_crowd(const struct bench_options *options)
{
	return bench_repeat(options, crowd_once);
}
