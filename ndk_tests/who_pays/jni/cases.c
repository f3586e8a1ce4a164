// SPDX-License-Identifier: GPL-2.0-only
/*
 * The situations, one function each. What belongs to processes that share
 * memory is shared, too: nobody changes it once the others run.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "output.h"
#include "stage.h"
#include "thread.h"

#define READ_END	0
#define WRITE_END	1

/* What each zombie held before it became one. */
#define ZOMBIE_SIZE	(1UL << 20)

/* Threads wait here until the process ends, and with it they. */
static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void __attribute__((noreturn)) play_threads(const struct who_args *args)
{
	unsigned long i;

	stage_say_process();
	stage_hold(args->size);
	for (i = 1; i < args->count; i++)
		stage_thread(wait_for_ever, NULL);
	say("threads: count=%lu", args->count);
	stage_wait(1);
	_exit(EXIT_EXPECTED);
}

/* What a process that shares memory is told; on the stack of who starts it. */
struct sharer {
	int ready[2];
	/*
	 * From the process that started it: a byte says that all is over, and the
	 * end of file that the process is gone.
	 */
	int elder[2];
	/* SAME_UID: nobody else's. */
	uid_t uid;
	/* What it is to hold for all, when the elder says so; 0: nothing. */
	unsigned long size;
	/* A step of its own when the elder is gone, and then as much again; 0: none. */
	unsigned int step;
};

static int share(void *arg)
{
	const struct sharer *sharer = arg;
	unsigned int step = sharer->step;
	int elder = sharer->elder[READ_END];

	stage_bind();
	close(sharer->elder[WRITE_END]);
	if (sharer->uid != SAME_UID)
		stage_become(sharer->uid);
	stage_say_process();
	stage_tell(sharer->ready[WRITE_END], 1);
	if (sharer->size > 0) {
		if (!stage_hear(elder, 1))
			wait_for_ever(NULL);
		stage_hold(sharer->size);
		stage_tell(sharer->ready[WRITE_END], 1);
	}
	/* Where the elder is killed, this one must not end before it is killed itself. */
	if (!stage_hear(elder, 1))
		wait_for_ever(NULL);
	if (step > 0) {
		stage_hear(elder, 1);
		stage_wait(step);
		stage_hold(sharer->size);
	}
	_exit(EXIT_EXPECTED);
}

static void start_sharers(struct sharer *sharer, unsigned long count)
{
	unsigned long i;

	stage_pipe(sharer->ready);
	stage_pipe(sharer->elder);
	/* Children of the program itself, which sees how each ends. */
	for (i = 0; i < count; i++)
		stage_share(share, sharer, CLONE_PARENT);
	/* One that fails leaves the end of file. */
	close(sharer->ready[WRITE_END]);
	if (!stage_hear(sharer->ready[READ_END], count))
		_exit(EXIT_UNEXPECTED);
}

static void __attribute__((noreturn)) play_clone_vm(const struct who_args *args)
{
	struct sharer sharer = { .uid = SAME_UID };

	stage_say_process();
	stage_hold(args->size);
	start_sharers(&sharer, args->count - 1);
	stage_wait(1);
	stage_tell(sharer.elder[WRITE_END], args->count - 1);
	_exit(EXIT_EXPECTED);
}

static void __attribute__((noreturn)) play_clone_vm_across(const struct who_args *args)
{
	struct sharer sharer = { .uid = args->uids[1], .size = args->size, .step = 2 };

	/* Both need root's rights to become what they are to be. */
	start_sharers(&sharer, 1);
	stage_become(args->uids[0]);
	stage_say_process();
	stage_tell(sharer.elder[WRITE_END], 1);
	if (!stage_hear(sharer.ready[READ_END], 1))
		_exit(EXIT_UNEXPECTED);
	stage_wait(1);
	stage_tell(sharer.elder[WRITE_END], 1);
	_exit(EXIT_EXPECTED);
}

static int wait_in_vfork(void *arg)
{
	(void)arg;
	/* Not bound to its parent, or that one's death would come before its own kill. */
	stage_say_process();
	stage_wait(1);
	_exit(EXIT_EXPECTED);
}

static void __attribute__((noreturn)) play_vfork(const struct who_args *args)
{
	int status;

	stage_say_process();
	stage_hold(args->size);
	/* vfork() is this, but for a child that must not return on its parent's stack. */
	stage_share(wait_in_vfork, NULL, CLONE_VFORK);
	if (wait(&status) < 0)
		stage_fail("wait");
	say("vfork: status=%d", status);
	_exit(status == 0 ? EXIT_EXPECTED : EXIT_UNEXPECTED);
}

/* What the thread does that its leader leaves behind. */
struct heir {
	unsigned long size;
	/* SAME_UID: it stays what its leader was. */
	uid_t uid;
};

static void *outlive_leader(void *arg)
{
	const struct heir *heir = arg;

	if (await_end_of_leader() < 0)
		stage_fail("/proc/self/stat");
	say("leader: pid=%d, tid=%d, state=Z", (int)stage_pid(), (int)syscall(__NR_gettid));
	stage_hold(heir->size);
	stage_wait(1);
	if (heir->uid != SAME_UID) {
		stage_become(heir->uid);
		stage_wait(2);
	}
	_exit(EXIT_EXPECTED);
}

static void __attribute__((noreturn)) exit_before(const struct heir *heir)
{
	/* Not on the stack of a thread that is to be gone. */
	static struct heir kept;

	kept = *heir;
	stage_say_process();
	stage_thread(outlive_leader, &kept);
	end_thread();
}

static void __attribute__((noreturn)) play_exited_leader(const struct who_args *args)
{
	const struct heir heir = { .size = args->size, .uid = SAME_UID };

	exit_before(&heir);
}

static void __attribute__((noreturn)) play_exited_leader_down(const struct who_args *args)
{
	const struct heir heir = { .size = args->size, .uid = args->uids[0] };

	exit_before(&heir);
}

static void __attribute__((noreturn)) play_exec(const struct who_args *args)
{
	char fd[16];

	stage_say_process();
	stage_hold(args->size);
	stage_wait(1);
	snprintf(fd, sizeof(fd), "%d", stage_fd());
	execl("/proc/self/exe", program_name, "after-exec", fd, (char *)NULL);
	stage_fail("exec");
}

void play_after_exec(void)
{
	say("exec: pid=%d", (int)stage_pid());
	stage_wait(2);
	_exit(EXIT_EXPECTED);
}

static void __attribute__((noreturn)) play_setuid_down(const struct who_args *args)
{
	stage_say_process();
	stage_hold(args->size);
	stage_wait(1);
	stage_become(args->uids[0]);
	stage_wait(2);
	_exit(EXIT_EXPECTED);
}

/* As a program that is setuid root: first in effect, then altogether. */
static void __attribute__((noreturn)) play_setuid_up(const struct who_args *args)
{
	stage_set_uids(args->uids[0], args->uids[0], 0);
	stage_say_process();
	stage_hold(args->size);
	stage_wait(1);
	stage_set_uids(SAME_UID, 0, SAME_UID);
	stage_wait(2);
	stage_become(0);
	stage_wait(3);
	_exit(EXIT_EXPECTED);
}

struct other_thread {
	int ready[2];
	int go[2];
	uid_t uid;
	unsigned long size;
};

static void *hold_as_other(void *arg)
{
	const struct other_thread *thread = arg;

	stage_become(thread->uid);
	stage_tell(thread->ready[WRITE_END], 1);
	stage_hear(thread->go[READ_END], 1);
	stage_hold(thread->size);
	stage_tell(thread->ready[WRITE_END], 1);
	return wait_for_ever(NULL);
}

static void __attribute__((noreturn)) play_thread_across(const struct who_args *args)
{
	struct other_thread thread = { .uid = args->uids[1], .size = args->size };

	stage_pipe(thread.ready);
	stage_pipe(thread.go);
	stage_thread(hold_as_other, &thread);
	stage_hear(thread.ready[READ_END], 1);
	stage_become(args->uids[0]);
	stage_say_process();
	stage_tell(thread.go[WRITE_END], 1);
	stage_hear(thread.ready[READ_END], 1);
	stage_wait(1);
	_exit(EXIT_EXPECTED);
}

/* Each child's memory is the process's own once more. */
static void __attribute__((noreturn)) play_forks(const struct who_args *args)
{
	unsigned long i;

	stage_say_process();
	stage_hold(args->size);
	for (i = 1; i < args->count; i++)
		if (stage_child() == 0)
			wait_for_ever(NULL);
	stage_wait(1);
	_exit(EXIT_EXPECTED);
}

static void make_zombie(void)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid < 0)
		stage_fail("fork");
	if (pid == 0) {
		stage_hold(ZOMBIE_SIZE);
		_exit(EXIT_EXPECTED);
	}
	/* It has ended, and stays. */
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
		stage_fail("waitid");
	say("zombie: pid=%d", (int)pid);
}

static void __attribute__((noreturn)) play_zombies(const struct who_args *args)
{
	unsigned long i;

	stage_say_process();
	for (i = 0; i < args->count; i++)
		make_zombie();
	stage_wait(1);
	for (i = 0; i < args->count; i++)
		if (wait(NULL) < 0)
			stage_fail("wait");
	_exit(EXIT_EXPECTED);
}

/* Each thread says when it is ready, and waits for the others. */
struct meeting {
	int ready[2];
	int go[2];
	unsigned long size;
	void (*hold)(unsigned long size);
};

static void *hold_back(void *arg)
{
	const struct meeting *meeting = arg;

	meeting->hold(meeting->size);
	stage_tell(meeting->ready[WRITE_END], 1);
	stage_hear(meeting->go[READ_END], 1);
	stage_fold();
	stage_tell(meeting->ready[WRITE_END], 1);
	return wait_for_ever(NULL);
}

static void __attribute__((noreturn)) meet(const struct who_args *args,
						void (*hold)(unsigned long size))
{
	struct meeting meeting = { .size = args->size, .hold = hold };
	unsigned long i;

	stage_say_process();
	stage_pipe(meeting.ready);
	stage_pipe(meeting.go);
	for (i = 0; i < args->count; i++)
		stage_thread(hold_back, &meeting);
	stage_hear(meeting.ready[READ_END], args->count);
	say("threads: count=%lu", args->count);
	stage_fold();
	stage_wait(1);
	stage_tell(meeting.go[WRITE_END], args->count);
	stage_hear(meeting.ready[READ_END], args->count);
	say("folded: count=%lu", args->count);
	stage_fold();
	stage_wait(2);
	_exit(EXIT_EXPECTED);
}

static void __attribute__((noreturn)) play_deltas(const struct who_args *args)
{
	meet(args, stage_hold_private);
}

static void __attribute__((noreturn)) play_deltas_unmapping(const struct who_args *args)
{
	meet(args, stage_hold_unmapping);
}

static void __attribute__((noreturn)) play_deltas_file(const struct who_args *args)
{
	meet(args, stage_hold_file);
}

static void __attribute__((noreturn)) play_deltas_shared(const struct who_args *args)
{
	meet(args, stage_hold_shared);
}

static int hold_for_all(void *arg)
{
	const struct meeting *meeting = arg;

	stage_bind();
	stage_hold_private(meeting->size);
	stage_tell(meeting->ready[WRITE_END], 1);
	/* Where the others are killed, this one must not end before. */
	if (!stage_hear(meeting->go[READ_END], 1))
		wait_for_ever(NULL);
	_exit(EXIT_EXPECTED);
}

/* As with threads, but each is a process of its own that shares the memory. */
static void __attribute__((noreturn)) play_deltas_sharers(const struct who_args *args)
{
	struct meeting meeting = { .size = args->size };
	unsigned long i;

	stage_say_process();
	stage_pipe(meeting.ready);
	stage_pipe(meeting.go);
	for (i = 1; i < args->count; i++)
		stage_share(hold_for_all, &meeting, CLONE_PARENT);
	stage_hear(meeting.ready[READ_END], args->count - 1);
	stage_wait(1);
	stage_tell(meeting.go[WRITE_END], args->count - 1);
	_exit(EXIT_EXPECTED);
}

/* A page table maps as much at least. */
#define TABLE_SPAN	(2UL << 20)

/* Reads what nobody has written: the same page of zeros everywhere, in a table each. */
static void __attribute__((noreturn)) play_tables(const struct who_args *args)
{
	volatile char *memory = mmap(NULL, args->size, PROT_READ,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long at;

	if (memory == MAP_FAILED)
		stage_fail("mmap");
	stage_say_process();
	for (at = 0; at < args->size; at += TABLE_SPAN)
		(void)memory[at];
	stage_wait(1);
	_exit(EXIT_EXPECTED);
}

const struct who_case who_cases[] = {
	{ "threads", "ns", 1, play_threads },
	{ "clone-vm", "ns", 0, play_clone_vm },
	{ "clone-vm-across", "uus", 2, play_clone_vm_across },
	{ "thread-across", "uus", 1, play_thread_across },
	{ "vfork", "s", 1, play_vfork },
	{ "exited-leader", "s", 1, play_exited_leader },
	{ "exited-leader-down", "su", 1, play_exited_leader_down },
	{ "exec", "s", 1, play_exec },
	{ "setuid-down", "su", 1, play_setuid_down },
	{ "setuid-up", "su", 1, play_setuid_up },
	{ "forks", "ns", 1, play_forks },
	{ "zombies", "n", 1, play_zombies },
	{ "tables", "s", 1, play_tables },
	{ "deltas", "ns", 1, play_deltas },
	{ "deltas-unmapping", "ns", 1, play_deltas_unmapping },
	{ "deltas-file", "ns", 1, play_deltas_file },
	{ "deltas-shared", "ns", 1, play_deltas_shared },
	{ "deltas-sharers", "ns", 0, play_deltas_sharers },
	{ NULL, NULL, 0, NULL },
};
