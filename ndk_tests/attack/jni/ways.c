// SPDX-License-Identifier: GPL-2.0-only
/* See ways.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <linux/if_packet.h>

#include "limited.h"
#include "output.h"
#include "stage.h"
#include "syscalls.h"
#include "ways.h"

#define READ_END	0
#define WRITE_END	1

static void __attribute__((noreturn)) wait_for_ever(void)
{
	for (;;)
		pause();
}

static unsigned long page_size(void)
{
	return (unsigned long)sysconf(_SC_PAGESIZE);
}

/* Pipes */

/* As large as an unprivileged user may have it: for very many faults. */
#define PIPE_SIZE	(1L << 20)

static char *map_shared(unsigned long size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		stage_fail("mmap");
	return memory;
}

/* What the user does, each time with other memory. */
static void use_write(const int fds[2])
{
	if (write(fds[WRITE_END], map_shared(PIPE_SIZE), PIPE_SIZE) < 0)
		sched_yield();
}

static void use_splice(const int fds[2])
{
	const struct iovec vector = { .iov_base = map_shared(PIPE_SIZE), .iov_len = PIPE_SIZE };

	if (vmsplice(fds[WRITE_END], &vector, 1, 0) < 0)
		sched_yield();
}

static void use_read(const int fds[2])
{
	if (read(fds[READ_END], stage_map(PIPE_SIZE), PIPE_SIZE) < 0)
		sched_yield();
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

/* Root's ends are files of their own, or the user's would not wait, either. */
static int open_again(int fd, int flags)
{
	char path[32];
	int other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	other = open(path, flags | O_NONBLOCK);
	if (other < 0)
		stage_fail(path);
	return other;
}

static void attack_pipe(const struct way_args *args, void (*use)(const int fds[2]), bool reads)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	/* All that is there, so that the user writes on. */
	static char bytes[PIPE_SIZE];
	long calls = 0, longest = 0;
	int fds[2], own;
	pid_t child;

	stage_pipe(fds);
	if (fcntl(fds[WRITE_END], F_SETPIPE_SZ, PIPE_SIZE) < 0)
		stage_fail("F_SETPIPE_SZ");
	child = stage_child();
	if (child == 0) {
		stage_become(args->uid);
		for (;;)
			use(fds);
	}
	own = reads ? open_again(fds[WRITE_END], O_WRONLY) : open_again(fds[READ_END], O_RDONLY);
	while (waitpid(child, NULL, WNOHANG) == 0) {
		long begun = milliseconds(), took;
		ssize_t done = reads ? write(own, bytes, page_size()) :
				       read(own, bytes, sizeof(bytes));

		took = milliseconds() - begun;
		if (done < 0 && errno != EAGAIN)
			stage_fail("pipe");
		if (took > longest)
			longest = took;
		if (++calls % 100 == 0)
			say("calls: count=%ld, longest_ms=%ld", calls, longest);
		if (done < 0 || !reads)
			nanosleep(&moment, NULL);
	}
	say("calls: count=%ld, longest_ms=%ld", calls, longest);
}

static void attack_pipe_write(const struct way_args *args)
{
	attack_pipe(args, use_write, false);
}

static void attack_pipe_splice(const struct way_args *args)
{
	attack_pipe(args, use_splice, false);
}

static void attack_pipe_read(const struct way_args *args)
{
	attack_pipe(args, use_read, true);
}

/* Forks */

#define SELF		"/proc/self/exe"

static void fork_and_bury(const struct way_args *args, void (*be)(void))
{
	unsigned long i;

	stage_wait(1);
	for (i = 0; i < args->counts[0]; i++) {
		pid_t pid = fork();

		if (pid < 0)
			stage_fail("fork");
		if (pid == 0) {
			be();
			_exit(0);
		}
		if (waitpid(pid, NULL, 0) != pid)
			stage_fail("waitpid");
	}
	stage_wait(2);
}

static void be_nothing(void)
{
}

static void be_a_program(void)
{
	/* It has nowhere to say this. */
	close(STDOUT_FILENO);
	execl(SELF, "attack", "-h", NULL);
}

static void attack_forks(const struct way_args *args)
{
	fork_and_bury(args, be_nothing);
}

static void attack_programs(const struct way_args *args)
{
	fork_and_bury(args, be_a_program);
}

/* Tracers */

/*
 * Waits until @child, or any with -1, has stopped, as it wants to be traced, and leads it
 * on: it stops again when it begins to end, with all its memory. Returns who it is.
 */
static pid_t trace_to_the_end(pid_t child)
{
	int status;

	child = waitpid(child, &status, 0);
	if (child < 0 || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACEEXIT) < 0 ||
	    ptrace(PTRACE_CONT, child, NULL, NULL) < 0)
		stage_fail("ptrace");
	return child;
}

static void let_end(pid_t child)
{
	ptrace(PTRACE_CONT, child, NULL, NULL);
	waitpid(child, NULL, 0);
}

/* Has a child take its memory by @hold, and its tracer not let it end with it. */
static void trace_one(const struct way_args *args, void (*hold)(const struct way_args *args))
{
	int ready[2], status;
	pid_t child;

	stage_pipe(ready);
	child = stage_child();
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			stage_fail("PTRACE_TRACEME");
		raise(SIGSTOP);
		hold(args);
		stage_tell(ready[WRITE_END], 1);
		wait_for_ever();
	}
	trace_to_the_end(child);
	if (!stage_hear(ready[READ_END], 1))
		stage_fail("child");
	stage_wait(1);
	if (waitpid(child, &status, 0) != child)
		stage_fail("waitpid");
	say("traced: pid=%d, ends=%d", (int)child,
	    WIFSTOPPED(status) && status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8));
	stage_wait(2);
	let_end(child);
}

static void hold_size(const struct way_args *args)
{
	stage_hold(args->size);
}

static void attack_traced(const struct way_args *args)
{
	trace_one(args, hold_size);
}

/* Two mappings for each count: the pages of one differ from their neighbours'. */
static void hold_parts(const struct way_args *args)
{
	const unsigned long page = page_size(), size = 2 * args->counts[0] * page;
	char *memory = stage_map(size);
	unsigned long i;

	stage_touch(memory, size);
	for (i = 0; i < size; i += 2 * page)
		if (mprotect(memory + i, page, PROT_READ) < 0)
			stage_fail("mprotect");
}

static void attack_parts(const struct way_args *args)
{
	trace_one(args, hold_parts);
}

/* A sharer of another user, which ends later */

struct heir {
	uid_t uid;
	int ready;
};

static int be_heir(void *arg)
{
	const struct heir *heir = arg;

	stage_become(heir->uid);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		stage_fail("PTRACE_TRACEME");
	stage_tell(heir->ready, 1);
	kill(stage_pid(), SIGSTOP);
	wait_for_ever();
}

static void attack_heir(const struct way_args *args)
{
	struct heir heir = { .uid = args->uid + 1 };
	/* Not one pipe for both: who is told by it would be a matter of luck. */
	int shared[2], ready[2], status;
	pid_t owner, last;

	stage_pipe(shared);
	stage_pipe(ready);
	owner = stage_child();
	if (owner == 0) {
		/* Whoever kills cannot give it back. */
		char *memory = map_shared(args->size);

		heir.ready = shared[WRITE_END];
		stage_share(be_heir, &heir, CLONE_PARENT);
		if (!stage_hear(shared[READ_END], 1))
			stage_fail("heir");
		stage_become(args->uid);
		stage_touch(memory, args->size);
		stage_tell(ready[WRITE_END], 1);
		wait_for_ever();
	}
	last = trace_to_the_end(-1);
	if (!stage_hear(ready[READ_END], 1))
		stage_fail("owner");
	stage_wait(1);
	if (waitpid(owner, &status, 0) != owner || !WIFSIGNALED(status) ||
	    waitpid(last, &status, 0) != last || !WIFSTOPPED(status))
		stage_fail("waitpid");
	stage_wait(2);
	let_end(last);
}

/* Kernel threads */

#define USE_MM	"/proc/use_mm"

static void attack_kthread(const struct way_args *args)
{
	int fd = open(USE_MM, O_WRONLY);

	if (fd < 0)
		stage_fail(USE_MM);
	stage_wait(1);
	/* The thread touches the memory, and this process none of it. */
	if (write(fd, stage_map(args->size), args->size) < 0)
		stage_fail(USE_MM);
	stage_wait(2);
}

/* A process that is gone, and whose memory such a thread keeps */
static void attack_kept(const struct way_args *args)
{
	char *from = stage_map(args->size), *to = stage_map(args->size);
	char path[32];
	int fd, status, go[2];
	pid_t owner;
	long done;

	stage_pipe(go);
	owner = stage_child();
	if (owner == 0) {
		int use = open(USE_MM, O_WRONLY);

		if (use < 0 || !stage_hear(go[READ_END], 1) || write(use, to, 1) < 0)
			stage_fail(USE_MM);
		_exit(0);
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)owner);
	fd = open(path, O_RDWR);
	if (fd < 0)
		stage_fail(path);
	stage_tell(go[WRITE_END], 1);
	if (waitpid(owner, &status, 0) != owner || status != 0)
		stage_fail("waitpid");
	stage_wait(1);
	done = pwrite64(fd, from, args->size, (off64_t)(unsigned long)to);
	say("took: %ld", done);
}

/* Sharers */

#define SMALL_STACK	(16UL << 10)

static int share_on(void *arg)
{
	(void)arg;
	for (;;) {
		char *stack = mmap(NULL, SMALL_STACK, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (stack == MAP_FAILED)
			continue;
		if (clone(share_on, stack + SMALL_STACK, CLONE_VM | SIGCHLD, NULL) < 0) {
			munmap(stack, SMALL_STACK);
			sched_yield();
		}
	}
	return 0;
}

static void attack_sharers(const struct way_args *args)
{
	const struct rlimit most = { .rlim_cur = args->counts[0], .rlim_max = args->counts[0] };
	char *stack = stage_map(SMALL_STACK);

	if (!is_limited(getuid())) {
		complain("the user %u has no limit", (unsigned int)getuid());
		_exit(EXIT_UNEXPECTED);
	}
	if (setrlimit(RLIMIT_NPROC, &most) < 0)
		stage_fail("RLIMIT_NPROC");
	/* Nobody waits for the dead. */
	signal(SIGCHLD, SIG_IGN);
	stage_hold(args->size);
	stage_wait(1);
	if (clone(share_on, stack + SMALL_STACK, CLONE_VM | SIGCHLD, NULL) < 0)
		stage_fail("clone");
	share_on(NULL);
}

/* Many, and one that is far above the limit, and the largest */

static void start_holders(unsigned long count, unsigned long size)
{
	int ready[2];
	unsigned long i;

	stage_pipe(ready);
	for (i = 0; i < count; i++) {
		if (stage_child() == 0) {
			stage_hold_private(size);
			stage_tell(ready[WRITE_END], 1);
			wait_for_ever();
		}
	}
	if (!stage_hear(ready[READ_END], count))
		stage_fail("children");
}

static void attack_crowd(const struct way_args *args)
{
	start_holders(args->counts[0], args->size);
	stage_wait(1);
}

static void attack_large(const struct way_args *args)
{
	start_holders(args->counts[0], args->size / 10);
	stage_hold(args->size);
	stage_wait(1);
	for (;;) {
		/* More than a thread holds back. */
		char *memory = stage_map(200 * page_size());

		stage_touch(memory, 200 * page_size());
		if (munmap(memory, 200 * page_size()) < 0)
			stage_fail("munmap");
	}
}

/* Growth by less than is told at once, and a read of the limits in between */

#define LIMITS		"/proc/mm_limits"
#define FEW_PAGES	20

static void read_limits(void)
{
	char text[4096];
	int fd = open(LIMITS, O_RDONLY);
	ssize_t size;

	if (fd < 0)
		stage_fail(LIMITS);
	do
		size = read(fd, text, sizeof(text));
	while (size > 0);
	if (size < 0)
		stage_fail(LIMITS);
	close(fd);
}

static void attack_slips(const struct way_args *args)
{
	unsigned long step = FEW_PAGES * page_size(), held;

	stage_wait(1);
	for (held = 0; held < args->size; held += step) {
		stage_hold_private(step);
		stage_fold();
		read_limits();
	}
	stage_wait(2);
}

/* One system call that tries again and again to take it all */

static void attack_populate(const struct way_args *args)
{
	stage_wait(1);
	if (mmap(NULL, args->size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0) == MAP_FAILED)
		stage_fail("mmap");
	stage_wait(2);
}

/* Memory that is given back in one process before it is taken in another one */

static void take_in_turn(unsigned long size, int turn, int others_turn)
{
	while (stage_hear(turn, 1)) {
		char *memory = stage_map(size);

		stage_touch(memory, size);
		if (munmap(memory, size) < 0)
			stage_fail("munmap");
		stage_tell(others_turn, 1);
	}
}

static void attack_passes(const struct way_args *args)
{
	int first[2], last[2];

	stage_pipe(first);
	stage_pipe(last);
	/* It comes long behind this one in the list of the user's mms. */
	start_holders(args->counts[0], page_size());
	if (stage_child() == 0)
		take_in_turn(args->size, last[READ_END], first[WRITE_END]);
	stage_tell(last[WRITE_END], 1);
	if (!stage_hear(first[READ_END], 1))
		stage_fail("child");
	stage_hold_private(args->size);
	stage_wait(1);
	stage_tell(last[WRITE_END], 1);
	take_in_turn(args->size, first[READ_END], last[WRITE_END]);
}

/* Pages of a file */

struct reading {
	const volatile char *file;
	unsigned long size;
	int ready;
};

static void *read_pages(void *arg)
{
	const struct reading *reading = arg;
	unsigned long offset;

	for (offset = 0; offset < reading->size; offset += page_size())
		(void)reading->file[offset];
	stage_tell(reading->ready, 1);
	wait_for_ever();
	return NULL;
}

static int make_file(unsigned long size)
{
	char name[] = "/tmp/attack-XXXXXX";
	static char block[1 << 16];
	int fd = mkstemp(name);

	if (fd < 0)
		stage_fail(name);
	unlink(name);
	while (size > 0) {
		size_t part = size < sizeof(block) ? size : sizeof(block);

		if (write(fd, block, part) != (ssize_t)part)
			stage_fail("write");
		size -= part;
	}
	return fd;
}

static void attack_copies(const struct way_args *args)
{
	unsigned long count = args->counts[0], whole = count * args->size, i;
	int fd = make_file(whole), ready[2];
	struct reading *readings = calloc(count, sizeof(*readings));
	char *file = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	if (!readings || file == MAP_FAILED)
		stage_fail("mmap");
	stage_pipe(ready);
	for (i = 0; i < count; i++) {
		readings[i] = (struct reading){
			.file = file + i * args->size,
			.size = args->size,
			.ready = ready[WRITE_END],
		};
		stage_thread(read_pages, &readings[i]);
	}
	if (!stage_hear(ready[READ_END], count))
		stage_fail("threads");
	/* Each write makes a page of the process's own of one of the file's. */
	stage_touch(file, whole);
	stage_fold();
	stage_wait(1);
	stage_wait(2);
}

/* Threads that are over the limit at the same time */

struct taking {
	int go;
	int done;
	unsigned long size;
};

static void *take(void *arg)
{
	const struct taking *taking = arg;

	stage_hear(taking->go, 1);
	stage_hold_private(taking->size);
	stage_tell(taking->done, 1);
	wait_for_ever();
	return NULL;
}

static void attack_threads(const struct way_args *args)
{
	unsigned long count = args->counts[0], i;
	struct taking taking = { .size = args->size };
	int go[2], done[2];

	stage_pipe(go);
	stage_pipe(done);
	taking.go = go[READ_END];
	taking.done = done[WRITE_END];
	start_holders(args->counts[1], page_size());
	for (i = 0; i < count; i++)
		stage_thread(take, &taking);
	stage_wait(1);
	stage_tell(go[WRITE_END], count);
	if (!stage_hear(done[READ_END], count))
		stage_fail("threads");
	stage_wait(2);
}

/* A limit that is set all the time, by one for whom a worker looks */

static void attack_sets(const struct way_args *args)
{
	unsigned long less = args->counts[1] * page_size(), i;

	if (setpriority(PRIO_PROCESS, 0, 19) < 0)
		stage_fail("setpriority");
	stage_wait(1);
	for (i = 0; i < args->counts[0]; i++) {
		if (set_mm_limits(getuid(), args->size - i * less) < 0)
			stage_fail("set_mm_limits");
	}
	stage_wait(2);
}

static void attack_nice_sets(const struct way_args *args)
{
	unsigned long i;

	for (i = 0; i < args->counts[0]; i++) {
		if (stage_child() == 0) {
			for (;;)
				continue;
		}
	}
	stage_wait(1);
	if (setpriority(PRIO_PROCESS, 0, 19) < 0)
		stage_fail("setpriority");
	for (;;) {
		if (set_mm_limits(getuid(), args->size) < 0)
			stage_fail("set_mm_limits");
	}
}

/* A limit that is lowered during each look, so that it is never the one that was exceeded */

static void attack_lowers(const struct way_args *args)
{
	volatile unsigned long *max = (void *)map_shared(page_size());
	unsigned long i;

	*max = args->size;
	start_holders(args->counts[0], page_size());
	stage_wait(1);
	for (i = 0; i < args->counts[1]; i++) {
		if (stage_child() == 0) {
			if (setpriority(PRIO_PROCESS, 0, 1) < 0)
				stage_fail("setpriority");
			/* Another may have set less already. */
			for (;;)
				set_mm_limits(getuid(), --*max);
		}
	}
	stage_hold_private(args->size);
	stage_wait(2);
}

/* A task that gets hardly any CPU, and makes its user be looked at */

#ifndef SCHED_IDLE
#define SCHED_IDLE	5
#endif

static void attack_starved(const struct way_args *args)
{
	const struct sched_param none = { };
	const unsigned long step = 70 * page_size();
	unsigned long held, i;

	start_holders(args->counts[1], page_size());
	for (i = 0; i < args->counts[0]; i++) {
		if (stage_child() == 0) {
			for (;;)
				continue;
		}
	}
	stage_wait(1);
	if (sched_setscheduler(0, SCHED_IDLE, &none) < 0)
		stage_fail("SCHED_IDLE");
	for (held = 0; held < args->size; held += step)
		stage_hold_private(step);
	stage_wait(2);
}

/* User namespaces */

#define FIRST_SUBUID	100000
#define SUBUIDS		65536

static void map_subuids(pid_t whose)
{
	char path[32], map[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)whose);
	snprintf(map, sizeof(map), "0 %d %d\n", FIRST_SUBUID, SUBUIDS);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, map, strlen(map)) != (ssize_t)strlen(map))
		stage_fail(path);
	close(fd);
}

static void __attribute__((noreturn)) be_subuids(const struct way_args *args, int ready,
						int mapped)
{
	unsigned long i;

	stage_become(args->uid);
	if (unshare(CLONE_NEWUSER) < 0)
		stage_fail("unshare");
	stage_tell(ready, 1);
	if (!stage_hear(mapped, 1))
		_exit(EXIT_UNEXPECTED);
	for (i = 0; i < args->counts[0]; i++) {
		if (stage_child() == 0) {
			stage_become((uid_t)i);
			stage_hold_private(args->size);
			stage_tell(ready, 1);
			wait_for_ever();
		}
	}
	wait_for_ever();
}

static void attack_subuids(const struct way_args *args)
{
	int ready[2], mapped[2];
	pid_t child;

	stage_pipe(ready);
	stage_pipe(mapped);
	child = stage_child();
	if (child == 0)
		be_subuids(args, ready[WRITE_END], mapped[READ_END]);
	if (!stage_hear(ready[READ_END], 1))
		stage_fail("namespace");
	map_subuids(child);
	stage_tell(mapped[WRITE_END], 1);
	if (!stage_hear(ready[READ_END], args->counts[0]))
		stage_fail("subuids");
	stage_wait(1);
}

/* Victims that make system calls, and lose their memory to another CPU meanwhile */

static void call_without_end(unsigned long size, int ready)
{
	stage_hold_private(size);
	stage_tell(ready, 1);
	for (;;)
		getppid();
}

static void attack_calls(const struct way_args *args)
{
	int ready[2], status;
	unsigned long i;

	stage_pipe(ready);
	stage_wait(1);
	for (i = 0; i < args->counts[0]; i++) {
		pid_t victim, killer;

		victim = stage_child();
		if (victim == 0)
			call_without_end(args->size, ready[WRITE_END]);
		if (!stage_hear(ready[READ_END], 1))
			stage_fail("child");
		killer = stage_child();
		if (killer == 0) {
			/* It stays the smaller one. */
			stage_hold_private(args->size / 4 * 3);
			_exit(0);
		}
		if (waitpid(victim, &status, 0) != victim || !WIFSIGNALED(status) ||
		    waitpid(killer, &status, 0) != killer || status != 0)
			stage_fail("victim and killer");
	}
	stage_wait(2);
}

/* Memory that somebody else writes, and whose owner is gone by then */

static void attack_remote(const struct way_args *args)
{
	/* But for its first page, nothing of both is there yet: zeros take no memory. */
	char *from = stage_map(args->size), *to = stage_map(args->size);
	volatile char *begun = to;
	char path[32];
	int fd, ready[2];
	ssize_t done;
	pid_t owner;

	*from = 1;
	stage_pipe(ready);
	owner = stage_child();
	if (owner == 0) {
		stage_become(args->uid);
		stage_tell(ready[WRITE_END], 1);
		/* Its parent's end does not end it: it has become somebody else. */
		while (!*begun && getppid() != 1)
			sched_yield();
		_exit(0);
	}
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)owner);
	fd = open(path, O_RDWR);
	if (fd < 0 || !stage_hear(ready[READ_END], 1))
		stage_fail(path);
	/* Whoever has the file may write: an app can send it to another one. */
	stage_become(args->other);
	stage_wait(1);
	done = pwrite64(fd, from, args->size, (off64_t)(unsigned long)to);
	say("took: %ld", (long)done);
}

/* Robust futexes, which who ends writes to */

#define ROBUST_MOST	2048
#define ROBUST_FILE	"/tmp/robust"

/* As linux/futex.h has it, which not every libc brings. */
struct robust_entry {
	struct robust_entry *next;
};

struct robust_head {
	struct robust_entry list;
	long futex_offset;
	struct robust_entry *pending;
};

static int open_robust(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		stage_fail(path);
	unlink(path);
	return fd;
}

static char *map_at(char *place, unsigned long size, int fd)
{
	char *mapped = mmap(place, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | (place ? MAP_FIXED : 0), fd, 0);

	if (mapped == MAP_FAILED)
		stage_fail("mmap");
	return mapped;
}

/* A list with an entry in each page; none of them is read before this process ends. */
static void __attribute__((noreturn)) end_robustly(char *entries, char *futexes, int go)
{
	static struct robust_head head;
	unsigned long i, page = page_size();
	unsigned int owner = (unsigned int)stage_pid();
	char path[32];
	int fd;

	snprintf(path, sizeof(path), ROBUST_FILE ".%u", owner);
	fd = open_robust(path);
	if (pwrite(fd, &owner, sizeof(owner), 0) != sizeof(owner) ||
	    ftruncate(fd, (off_t)page) < 0)
		stage_fail(path);
	for (i = 0; i < ROBUST_MOST; i++)
		map_at(futexes + i * page, page, fd);
	head.list.next = (struct robust_entry *)entries;
	head.futex_offset = futexes - entries;
	if (syscall(SYS_set_robust_list, &head, sizeof(head)) < 0)
		stage_fail("set_robust_list");
	stage_hear(go, 1);
	_exit(0);
}

static void attack_robust(const struct way_args *args)
{
	unsigned long i, most = 0, page = page_size(), size = ROBUST_MOST * page;
	char *entries, *futexes = stage_map(size);
	int go[2], fd = open_robust(ROBUST_FILE);

	if (ftruncate(fd, (off_t)size) < 0)
		stage_fail("ftruncate");
	entries = map_at(NULL, size, fd);
	for (i = 0; i < ROBUST_MOST; i++) {
		struct robust_entry entry = {
			(struct robust_entry *)(entries + (i + 1) * page),
		};

		if (pwrite(fd, &entry, sizeof(entry), (off_t)(i * page)) != sizeof(entry))
			stage_fail(ROBUST_FILE);
	}
	stage_pipe(go);
	for (i = 0; i < args->counts[0]; i++)
		if (stage_child() == 0)
			end_robustly(entries, futexes, go[READ_END]);
	stage_wait(1);
	stage_tell(go[WRITE_END], args->counts[0]);
	while (waitpid(-1, NULL, WNOHANG) >= 0) {
		unsigned long rss = limited_rss(getuid());

		if (rss > most)
			most = rss;
	}
	say("most: %lu", most);
}

/* Pages of the kernel that are mapped at once, without a fault */

static void attack_ring(const struct way_args *args)
{
	const unsigned int block = 1U << 16;
	struct tpacket_req ring = {
		.tp_block_size = block,
		.tp_block_nr = (unsigned int)args->size / block,
		.tp_frame_size = block,
		.tp_frame_nr = (unsigned int)args->size / block,
	};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)) < 0)
		stage_fail("ring");
	if (stage_child() == 0) {
		stage_become(args->uid);
		if (mmap(NULL, args->size, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED)
			stage_fail("mmap");
		wait_for_ever();
	}
	stage_wait(1);
}

/* Programs that replace others */

#define LONG_WORD	100000U

static void attack_execs(const struct way_args *args)
{
	char *word = stage_map(LONG_WORD + 1);
	char **words = calloc(args->counts[0] + 3, sizeof(*words));
	unsigned long i;

	if (!words)
		stage_fail("calloc");
	memset(word, 'x', LONG_WORD);
	words[0] = "attack";
	words[1] = "-h";
	for (i = 0; i < args->counts[0]; i++)
		words[i + 2] = word;
	stage_hold_private(args->size);
	stage_wait(1);
	execv(SELF, words);
	stage_fail(SELF);
}

#ifdef SYS_setresuid32
#define SYS_OF_THREAD	SYS_setresuid32
#else
#define SYS_OF_THREAD	SYS_setresuid
#endif

struct program {
	uid_t uid;
	/* Where it is: on old kernels a thread that is somebody else may not ask. */
	char path[256];
};

static void *exec_as(void *arg)
{
	const struct program *program = arg;
	const uid_t uid = program->uid;
	char *const words[] = { "attack", "populate", "4096", NULL };

	/* Not the library's, which has all threads do the same. */
	if (syscall(SYS_OF_THREAD, uid, uid, uid) < 0)
		stage_fail("setresuid");
	execv(program->path, words);
	stage_fail(program->path);
}

static void attack_thread_execs(const struct way_args *args)
{
	struct program program = { .uid = args->uid };
	pthread_t thread;

	if (readlink(SELF, program.path, sizeof(program.path) - 1) < 0)
		stage_fail(SELF);
	if (pthread_create(&thread, NULL, exec_as, &program) != 0)
		stage_fail("pthread_create");
	wait_for_ever();
}

const struct way ways[] = {
	{ "pipe-write", "u", attack_pipe_write },
	{ "pipe-splice", "u", attack_pipe_splice },
	{ "pipe-read", "u", attack_pipe_read },
	{ "forks", "n", attack_forks },
	{ "programs", "n", attack_programs },
	{ "traced", "s", attack_traced },
	{ "heir", "us", attack_heir },
	{ "kthread", "s", attack_kthread },
	{ "kept", "s", attack_kept },
	{ "sharers", "ns", attack_sharers },
	{ "crowd", "ns", attack_crowd },
	{ "large", "ns", attack_large },
	{ "slips", "s", attack_slips },
	{ "populate", "s", attack_populate },
	{ "passes", "ns", attack_passes },
	{ "copies", "ns", attack_copies },
	{ "threads", "nns", attack_threads },
	{ "starved", "nns", attack_starved },
	{ "sets", "nns", attack_sets },
	{ "nice-sets", "ns", attack_nice_sets },
	{ "lowers", "nns", attack_lowers },
	{ "calls", "ns", attack_calls },
	{ "subuids", "uns", attack_subuids },
	{ "remote", "uus", attack_remote },
	{ "robust", "n", attack_robust },
	{ "ring", "us", attack_ring },
	{ "execs", "ns", attack_execs },
	{ "thread-execs", "u", attack_thread_execs },
	{ "parts", "n", attack_parts },
	{ NULL, NULL, NULL },
};
