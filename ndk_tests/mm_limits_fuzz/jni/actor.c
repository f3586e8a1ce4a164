// SPDX-License-Identifier: GPL-2.0-only
/* What an actor does: one thing after the other, chosen by its seed. */
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

#include "args.h"
#include "fuzz.h"
#include "syscalls.h"

#define MOST_REGIONS	24
#define MOST_DEPTH	4
#define SMALLEST	(64UL << 10)
#define LARGEST		(3UL << 20)

struct region {
	char *start;
	size_t size;
};

static struct region regions[MOST_REGIONS];

static void count(unsigned int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static bool told(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_RELAXED) != 0;
}

static void sleep_ms(unsigned int milliseconds)
{
	struct timespec time = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&time, NULL);
}

static bool may_multiply(void)
{
	if (told(&shared->quiet))
		return false;
	if (__atomic_add_fetch(&shared->processes, 1, __ATOMIC_RELAXED) <= MOST_PROCESSES)
		return true;
	__atomic_sub_fetch(&shared->processes, 1, __ATOMIC_RELAXED);
	return false;
}

static void not_multiplied(void)
{
	__atomic_sub_fetch(&shared->processes, 1, __ATOMIC_RELAXED);
	count(&shared->refused);
}

static void grow(struct actor *actor)
{
	struct region *region = &regions[pick(&actor->state, MOST_REGIONS)];
	size_t size = SMALLEST + pick(&actor->state, LARGEST - SMALLEST);

	if (region->start || told(&shared->quiet))
		return;
	region->start = mmap(NULL, size, PROT_READ | PROT_WRITE,
			     (pick(&actor->state, 4) ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS,
			     -1, 0);
	if (region->start == MAP_FAILED) {
		region->start = NULL;
		count(&shared->refused);
		return;
	}
	region->size = size;
	memset(region->start, 1, size);
}

static void shrink(struct actor *actor)
{
	struct region *region = &regions[pick(&actor->state, MOST_REGIONS)];

	if (!region->start)
		return;
	if (pick(&actor->state, 3)) {
		munmap(region->start, region->size);
		region->start = NULL;
	} else {
		madvise(region->start, region->size, MADV_DONTNEED);
	}
}

static void become_child(struct actor *actor, uint64_t salt)
{
	actor->state = mix(actor->state, salt);
	actor->depth++;
}

static void do_fork(struct actor *actor)
{
	uint64_t salt = pick(&actor->state, 1 << 30);
	pid_t pid;

	if (actor->depth >= MOST_DEPTH || !may_multiply())
		return;
	/* A child of the driver, which buries it at once and knows how it died. */
	pid = (pid_t)syscall(__NR_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0)
		become_child(actor, salt);
	else if (pid < 0)
		not_multiplied();
	else
		count(&shared->forks);
}

static int sharer(void *argument)
{
	unsigned int milliseconds = (unsigned int)(uintptr_t)argument;
	struct timespec time = { .tv_nsec = milliseconds * 1000000L };

	/* Its stack and all else is its parent's: it touches nothing. */
	nanosleep(&time, NULL);
	_exit(0);
}

static void do_share(struct actor *actor)
{
	static char stacks[4][16384] __attribute__((aligned(16)));
	static unsigned int next;
	unsigned int flags = CLONE_VM | CLONE_PARENT | SIGCHLD | (pick(&actor->state, 2) ? CLONE_VFORK : 0);
	unsigned int time = pick(&actor->state, 30);
	int pid;

	if (!may_multiply())
		return;
	pid = clone(sharer, stacks[next++ % 4] + sizeof(stacks[0]), (int)flags,
		    (void *)(uintptr_t)time);
	if (pid < 0)
		not_multiplied();
	else
		count(&shared->shares);
	/* The stack is free again only when it has ended. */
	if (pid > 0 && !(flags & CLONE_VFORK))
		sleep_ms(time + 1);
}

static void *thread(void *argument)
{
	size_t size = (size_t)(uintptr_t)argument;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory != MAP_FAILED) {
		memset(memory, 1, size);
		sleep_ms(5);
		munmap(memory, size);
	}
	return NULL;
}

static void do_thread(struct actor *actor)
{
	size_t size = SMALLEST + pick(&actor->state, 1 << 20);
	pthread_t started;

	if (told(&shared->quiet))
		return;
	if (pthread_create(&started, NULL, thread, (void *)(uintptr_t)size)) {
		count(&shared->refused);
		return;
	}
	count(&shared->threads);
	pthread_join(started, NULL);
}

static void do_exec(struct actor *actor)
{
	char state[24], depth[4], flags[2];
	char *words[] = { "mm_limits_fuzz", "-A", state, depth, flags, "actor", NULL };

	snprintf(state, sizeof(state), "%llx", (unsigned long long)actor->state);
	snprintf(depth, sizeof(depth), "%u", actor->depth);
	snprintf(flags, sizeof(flags), "%d", actor->can_switch + 2 * actor->is_limited);
	count(&shared->execs);
	execv("/proc/self/exe", words);
	count(&shared->refused);
}

bool actor_from_arguments(char **words, struct actor *actor)
{
	unsigned long depth, flags;
	char *end;

	actor->state = strtoull(words[0], &end, 16);
	if (*end || !actor->state || !parse_ulong_upto(words[1], MOST_DEPTH, &depth) ||
	    !parse_ulong_upto(words[2], 3, &flags))
		return false;
	actor->depth = (unsigned int)depth;
	actor->can_switch = flags & 1;
	actor->is_limited = flags & 2;
	return true;
}

/* To another of the users who may die: never to or from the one who may not. */
static void do_switch(struct actor *actor)
{
	uid_t uid = FIRST_LIMITED + pick(&actor->state, LIMITED_USERS);

	if (!actor->can_switch)
		return;
	if (pick(&actor->state, 8) == 0)
		actor->can_switch = false;
	if (setresuid((uid_t)-1, 0, 0) ||
	    setresuid(uid, uid, actor->can_switch ? 0 : uid))
		_exit(0);
	count(&shared->switches);
}

static unsigned long odd_size(struct actor *actor)
{
	static const unsigned long sizes[] = { 0, 1, 4095, 4096, 1UL << 31, ~0UL - 1, ~0UL };

	return sizes[pick(&actor->state, sizeof(sizes) / sizeof(sizes[0]))];
}

static void do_call(struct actor *actor)
{
	unsigned long size = (8UL + pick(&actor->state, 40)) << 20;
	uid_t uid = FIRST_LIMITED + pick(&actor->state, LIMITED_USERS);

	count(&shared->calls);
	switch (pick(&actor->state, 6)) {
	case 0:
		/* Its own, if it may die for it. */
		if (actor->is_limited && !actor->can_switch)
			set_mm_limits(getuid(), size);
		break;
	case 1:
		if (!actor->can_switch)
			set_mm_limits(uid == getuid() ? 0 : uid, odd_size(actor));
		break;
	case 2:
		set_mm_limits((uid_t)-pick(&actor->state, 3), size);
		break;
	case 3:
		set_mm_limits(0, odd_size(actor));
		break;
	default:
		if (!actor->can_switch)
			my_oom_killer();
	}
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		count(&shared->refused);
	close(fd);
}

static void do_files(struct actor *actor)
{
	char text[512];
	int fd;

	switch (pick(&actor->state, 3)) {
	case 0:
		snprintf(text, sizeof(text), "%u", pick(&actor->state, 1001));
		write_file("/proc/self/oom_score_adj", text);
		break;
	case 1:
		if (!actor->can_switch)
			write_file("/proc/mm_limits", "uid=10080 max=4096");
		break;
	default:
		fd = open("/proc/mm_limits", O_RDONLY | O_CLOEXEC);
		while (fd >= 0 && read(fd, text, 1 + pick(&actor->state, sizeof(text) - 1)) > 0)
			;
		if (fd >= 0)
			close(fd);
	}
}

/* Whoever else uses the pipe waits for a fault in here, and must not wait for more. */
static void do_pipe(struct actor *actor)
{
	struct region *region = &regions[pick(&actor->state, MOST_REGIONS)];
	size_t size = SMALLEST;
	char *memory;

	count(&shared->pipes);
	if (region->start) {
		if (write(PIPE_IN, region->start, region->size) < 0 && errno != EAGAIN)
			count(&shared->refused);
		return;
	}
	if (told(&shared->quiet))
		return;
	/* Grows in a single call. */
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || (read(PIPE_OUT, memory, size) < 0 && errno != EAGAIN))
		count(&shared->refused);
	if (memory != MAP_FAILED) {
		region->start = memory;
		region->size = size;
	}
}

static void rename_itself(struct actor *actor)
{
	static const char *const names[] = {
		"uid=0, pid=1", "\nuid=10080,", "\xff\xfe\t\\x41", "", "], trigger=", "comm=x",
	};

	prctl(PR_SET_NAME, names[pick(&actor->state, sizeof(names) / sizeof(names[0]))], 0, 0, 0);
}

static void act_once(struct actor *actor)
{
	switch (pick(&actor->state, 26)) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6: case 7:
		grow(actor);
		break;
	case 8: case 9: case 10:
		shrink(actor);
		break;
	case 11: case 12:
		do_fork(actor);
		break;
	case 13:
		do_share(actor);
		break;
	case 14:
		do_thread(actor);
		break;
	case 15:
		if (pick(&actor->state, 4) == 0)
			do_exec(actor);
		break;
	case 16:
		do_switch(actor);
		break;
	case 17: case 18:
		do_call(actor);
		break;
	case 19:
		do_files(actor);
		break;
	case 20:
		rename_itself(actor);
		break;
	case 21:
		if (actor->depth && pick(&actor->state, 6) == 0)
			_exit(0);
		break;
	case 22: case 23:
		do_pipe(actor);
		break;
	default:
		sleep_ms(pick(&actor->state, 8));
	}
}

void act(struct actor *actor)
{
	while (!told(&shared->end)) {
		if (told(&shared->quiet))
			sleep_ms(10);
		else
			act_once(actor);
	}
	_exit(0);
}
