// SPDX-License-Identifier: GPL-2.0-only
/*
 * What others feel while a user is over its limit: the longest of many waits that are
 * short as a rule, as those see it who wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "output.h"

/* Memory that the bystander takes at a time. */
#define FAULTS		256UL
/* What is written to the pipe at a time: as much as it holds. */
#define CHUNK		65536UL
/* Between two reads: who looks on must not need all of a CPU. */
#define PAUSE_NS	100000L

#ifndef PR_SET_CHILD_SUBREAPER
#define PR_SET_CHILD_SUBREAPER	36
#endif

/* How much of it one takes that may not be long on the CPU, and what it sleeps then. */
#define FEW		16UL
#define SLEEP_NS	200000L

/* Shared with a bystander. Nobody reads half of 32 bits. */
struct diary {
	unsigned int stop;
	unsigned int faults;
	unsigned int worst;	/* us */
};

/*
 * Both are of another user, whom nothing limits. One is nobody special, and so waits for
 * the CPU as well; the other has a real-time priority, and waits for locks only.
 */
enum bystander { ORDINARY, URGENT, BYSTANDERS };

static void *share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory != MAP_FAILED)
		return memory;
	complain("mmap: %s", strerror(errno));
	return NULL;
}

static void note_worst(volatile unsigned int *worst, unsigned long long ns)
{
	unsigned int us = (unsigned int)(ns / 1000);

	if (us > *worst)
		*worst = us;
}

/* Whether @count processes have said that they are where they should be. */
static bool all_ready(int fd, unsigned long count)
{
	char byte;

	while (count > 0) {
		ssize_t got = read(fd, &byte, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got != 1)
			return false;
		count--;
	}
	return true;
}

static void __attribute__((noreturn)) be_ready(int fd)
{
	if (write(fd, "r", 1) != 1)
		_exit(EXIT_UNEXPECTED);
	close(fd);
	for (;;)
		pause();
}

static void touch_all(volatile char *memory, unsigned long pages)
{
	unsigned long page;

	for (page = 0; page < pages; page++)
		memory[page * bench_page_size()] = 1;
}

static void __attribute__((noreturn)) be_offender(const struct bench_options *options, int answer)
{
	char *memory;

	if (!bench_become(options, options->uid))
		_exit(EXIT_UNEXPECTED);
	memory = bench_map(options->pages);
	if (!memory)
		_exit(EXIT_UNEXPECTED);
	touch_all(memory, options->pages);
	be_ready(answer);
}

static void __attribute__((noreturn)) be_bystander(const struct bench_options *options,
						   volatile struct diary *diary,
						   enum bystander kind)
{
	const struct sched_param param = { .sched_priority = 1 };
	const struct timespec pause = { .tv_nsec = SLEEP_NS };
	unsigned long size = FAULTS * bench_page_size();
	unsigned long long begin;
	unsigned long page;
	volatile char *memory;

	if (kind == URGENT && sched_setscheduler(0, SCHED_FIFO, &param) < 0)
		_exit(EXIT_UNEXPECTED);
	if (!bench_become(options, options->uid + 1))
		_exit(EXIT_UNEXPECTED);
	while (!diary->stop) {
		memory = bench_map(FAULTS);
		if (!memory)
			_exit(EXIT_UNEXPECTED);
		for (page = 0; page < FAULTS; page++) {
			begin = bench_ns();
			memory[page * bench_page_size()] = 1;
			note_worst(&diary->worst, bench_ns() - begin);
			diary->faults++;
			if (kind == URGENT && page % FEW == FEW - 1)
				nanosleep(&pause, NULL);
		}
		munmap((void *)(uintptr_t)memory, size);
	}
	_exit(0);
}

static bool has_limits(void)
{
	return access("/proc/mm_limits", F_OK) == 0;
}

/* How many were killed of the @count children @pids, all of which end. */
static unsigned long bury_killed(const pid_t *pids, unsigned long count)
{
	unsigned long index, killed = 0;
	int status;

	for (index = 0; index < count; index++) {
		while (waitpid(pids[index], &status, 0) < 0 && errno == EINTR)
			;
		killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	}
	return killed;
}

static bool start_offenders(const struct bench_options *options, pid_t *pids,
			    unsigned long *started)
{
	bool good = true;
	int ends[2];

	if (pipe(ends) < 0)
		return false;
	for (*started = 0; *started < options->processes && good; *started += good) {
		pid_t pid = bench_child();

		if (pid == 0) {
			close(ends[0]);
			be_offender(options, ends[1]);
		}
		good = pid > 0;
		pids[*started] = pid;
	}
	close(ends[1]);
	good = good && all_ready(ends[0], *started);
	close(ends[0]);
	return good;
}

/* Starts the bystanders, and waits until they have been on their way; returns whether they are. */
static bool start_bystanders(const struct bench_options *options, volatile struct diary *diaries)
{
	unsigned long long end = bench_ns() + options->timeout * 1000000ULL;
	const struct timespec pause = { .tv_nsec = 1000000 };
	unsigned int kind;

	for (kind = 0; kind < BYSTANDERS; kind++) {
		pid_t pid = bench_child();

		if (pid == 0)
			be_bystander(options, &diaries[kind], kind);
		if (pid < 0)
			return false;
	}
	for (kind = 0; kind < BYSTANDERS; kind++) {
		while (diaries[kind].faults < 2 * FAULTS && bench_ns() < end)
			nanosleep(&pause, NULL);
		if (diaries[kind].faults < 2 * FAULTS)
			return false;
		diaries[kind].faults = 0;
		diaries[kind].worst = 0;
	}
	return true;
}

/* By the limit, or one by one where there are no limits; returns whether all were told to end. */
static bool kill_offenders(const struct bench_options *options, const pid_t *pids,
			   unsigned long count)
{
	unsigned long index;
	bool good = true;

	if (has_limits())
		return bench_limit(options->uid, options->limit);
	for (index = 0; index < count; index++)
		good &= kill(pids[index], SIGKILL) == 0;
	return good;
}

static bool bystander_once(const struct bench_options *options, unsigned long number)
{
	static pid_t pids[BENCH_MOST_PROCESSES];
	volatile struct diary *diaries = share(BYSTANDERS * sizeof(*diaries));
	unsigned long started = 0, killed = 0, index;
	struct diary found[BYSTANDERS];
	unsigned long long begin;
	bool good;

	if (!diaries)
		return false;
	good = start_offenders(options, pids, &started) && start_bystanders(options, diaries);
	begin = bench_ns();
	good = good && kill_offenders(options, pids, started);
	/* Nobody else does it then. */
	for (index = 0; index < started && !good; index++)
		kill(pids[index], SIGKILL);
	killed = bury_killed(pids, started);
	for (index = 0; index < BYSTANDERS; index++) {
		found[index] = diaries[index];
		diaries[index].stop = 1;
	}
	if (good) {
		say("bystander: run=%lu, killed=%lu, faults=%u, worst_us=%u, ordinary_faults=%u, ordinary_worst_us=%u, us=%llu",
		    number, killed, found[URGENT].faults, found[URGENT].worst,
		    found[ORDINARY].faults, found[ORDINARY].worst,
		    (bench_ns() - begin) / 1000);
		good = !has_limits() || bench_limit(options->uid, 0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	munmap((void *)(uintptr_t)diaries, BYSTANDERS * sizeof(*diaries));
	return good && killed == started;
}

unsigned int bench_bystander(const struct bench_options *options)
{
	unsigned int good = 0;
	unsigned long run;

	bench_write("/proc/self/oom_score_adj", "-1000");
	for (run = 0; run < options->runs; run++)
		good += bystander_once(options, run);
	return good;
}

/* The victim: it has most of the limit, and is stuck in its exit while it is traced. */
static void __attribute__((noreturn)) be_stuck(unsigned long pages, int answer)
{
	char *memory = bench_map(pages);

	if (!memory || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(EXIT_UNEXPECTED);
	raise(SIGSTOP);
	touch_all(memory, pages);
	be_ready(answer);
}

/* Has the victim stop in its exit, and never looks at it again. Its pid goes into @victim. */
static void __attribute__((noreturn)) be_tracer(const struct bench_options *options,
						volatile pid_t *victim, int answer)
{
	int status;
	pid_t pid;

	if (!bench_become(options, options->uid))
		_exit(EXIT_UNEXPECTED);
	pid = bench_child();
	if (pid == 0)
		be_stuck(options->limit * 3 / 4, answer);
	close(answer);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACEEXIT) < 0)
		_exit(EXIT_UNEXPECTED);
	*victim = pid;
	ptrace(PTRACE_CONT, pid, NULL, NULL);
	for (;;)
		pause();
}

/* Memory that comes with a page fault for each page or some, and counts: a file's. */
static const char *map_file(unsigned long size)
{
	char path[] = "bench_work.XXXXXX";
	const char *memory = MAP_FAILED;
	char bytes[4096] = { 1 };
	unsigned long done;
	int fd = mkstemp(path);

	if (fd < 0) {
		complain("%s: %s", path, strerror(errno));
		return NULL;
	}
	unlink(path);
	for (done = 0; done < size; done += sizeof(bytes)) {
		if (write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
			break;
	}
	if (done >= size)
		memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (memory != MAP_FAILED)
		return memory;
	complain("no file to write from: %s", strerror(errno));
	return NULL;
}

/* Each writer maps its pages anew: nobody else touches them. */
static const char *written;

static unsigned long written_size(const struct bench_options *options)
{
	return options->limit * 3 / 8 * bench_page_size();
}

static void __attribute__((noreturn)) be_writer(const struct bench_options *options, int fd)
{
	unsigned long size = written_size(options);
	unsigned long done;
	ssize_t got;

	if (!bench_become(options, options->uid))
		_exit(EXIT_UNEXPECTED);
	for (done = 0; done < size; done += (unsigned long)got) {
		got = write(fd, written + done, size - done < CHUNK ? size - done : CHUNK);
		if (got <= 0)
			break;
	}
	_exit(0);
}

struct reading {
	unsigned long reads;
	unsigned long bytes;
	unsigned int worst;	/* us */
};

/* Reads until nobody writes any more, but not for longer than it should take. */
static bool read_all(const struct bench_options *options, int fd, struct reading *reading)
{
	unsigned long long end = bench_ns() + options->timeout * 1000000ULL;
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	static char bytes[CHUNK];
	unsigned long long begin;
	ssize_t got;

	memset(reading, 0, sizeof(*reading));
	while ((begin = bench_ns()) < end) {
		got = read(fd, bytes, sizeof(bytes));
		note_worst(&reading->worst, bench_ns() - begin);
		reading->reads++;
		if (got == 0)
			return true;
		if (got > 0)
			reading->bytes += (unsigned long)got;
		else if (errno != EAGAIN && errno != EINTR)
			break;
		nanosleep(&pause, NULL);
	}
	complain("what was written did not come to its end");
	return false;
}

/* Starts the tracer and the victim; the tracer's pid, or -1. */
static pid_t start_stuck(const struct bench_options *options, volatile pid_t *victim)
{
	int answer[2];
	bool ready;
	pid_t tracer;

	if (pipe(answer) < 0)
		return -1;
	tracer = bench_child();
	if (tracer == 0) {
		close(answer[0]);
		be_tracer(options, victim, answer[1]);
	}
	close(answer[1]);
	ready = tracer > 0 && all_ready(answer[0], 1);
	close(answer[0]);
	if (ready)
		return tracer;
	complain("a process did not come to its begin");
	if (tracer > 0)
		kill(tracer, SIGKILL);
	return -1;
}

/* Has a writer exceed the limit; returns whether all of it was read. */
static bool read_from_writer(const struct bench_options *options, struct reading *reading)
{
	bool good;
	int ends[2];
	pid_t pid;

	if (pipe(ends) < 0)
		return false;
	pid = bench_child();
	if (pid == 0)
		be_writer(options, ends[1]);
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	good = pid > 0 && read_all(options, ends[0], reading);
	close(ends[0]);
	if (pid > 0)
		kill(pid, SIGKILL);
	return good;
}

static bool pipe_once(const struct bench_options *options, unsigned long number)
{
	volatile pid_t *shared = share(sizeof(*shared));
	struct bench_record record = { .killer = "none" };
	struct reading reading;
	struct bench_log log;
	bool good = false;
	pid_t tracer, victim;

	if (!shared)
		return false;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	tracer = start_stuck(options, shared);
	if (tracer > 0) {
		victim = *shared;
		bench_log_open(&log);
		good = read_from_writer(options, &reading);
		good = good && bench_log_find(&log, &victim, 1, &record);
		bench_log_close(&log);
		kill(tracer, SIGKILL);
		kill(victim, SIGKILL);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (good)
		say("pipe: run=%lu, victim=%d, killer=%s, reads=%lu, bytes=%lu, worst_us=%u", number,
		    (int)record.pid, record.killer, reading.reads, reading.bytes, reading.worst);
	munmap((void *)(uintptr_t)shared, sizeof(*shared));
	return good;
}

unsigned int bench_pipe(const struct bench_options *options)
{
	/* Before anything has a real-time priority: it takes long. */
	written = map_file(written_size(options));
	return written ? bench_repeat(options, pipe_once) : 0;
}
