// SPDX-License-Identifier: GPL-2.0-only
/* The driver: starts actors, changes what it can change, buries the dead, and asks at the end. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "output.h"
#include "syscalls.h"

#define ACTORS			8
/* As a rule more than anybody else has, and less than any limit. */
#define PROTECTED_SIZE		(6UL << 20)
#define FINAL_LIMIT		(12UL << 20)
/* What is dying may take 5 s until it is given up on. */
#define SETTLE_SECONDS		15
#define END_SECONDS		15
#define FAILSLAB		"/sys/kernel/debug/failslab/"
#define MOST_FAULTS		1000000UL
#define FREEZER			"/data/local/tmp/fuzz-freezer"

static unsigned int deaths, odd_ends, mistakes;
static unsigned int stops, traces, freezes;

/* Those that it has started itself and not buried; the one that it traces. */
static pid_t actors[ACTORS];
static pid_t traced;

/* How the kernel's freezer is used, if it has one. */
struct freezer {
	const char *type;	/* of the file system; version 2 of the cgroups, or 1 */
	const char *options;
	const char *file;
	const char *frozen;
	const char *thawed;
	/* Whether who begins to trace a stopped process that is frozen waits, unkillably. */
	bool holds_tracers;
};

static const struct freezer freezers[] = {
	{ "cgroup2", "", FREEZER "/actors/cgroup.freeze", "1", "0", false },
	{ "cgroup", "freezer", FREEZER "/actors/freezer.state", "FROZEN", "THAWED", true },
};
static const struct freezer *freezer;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void sleep_ms(unsigned int milliseconds)
{
	struct timespec time = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&time, NULL);
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good;

	if (fd < 0)
		return false;
	good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

static bool read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length, all = 0;

	if (fd < 0)
		return false;
	while ((length = read(fd, text + all, size - 1 - (size_t)all)) > 0)
		all += length;
	close(fd);
	text[all] = '\0';
	return all > 0;
}

/* Who a process was that is dead and not buried yet. */
static void tell_death(pid_t pid)
{
	char path[64], text[2048], *line;
	unsigned long uid = 0;
	long adj = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if (read_file(path, text, sizeof(text)) && (line = strstr(text, "\nUid:")))
		uid = strtoul(line + 5, NULL, 10);
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	if (read_file(path, text, sizeof(text)))
		adj = strtol(text, NULL, 10);
	say("death: pid=%d, uid=%lu, adj=%ld", pid, uid, adj);
	deaths++;
}

/* It is no actor any more, whoever gets its number. */
static void forget(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < ACTORS; i++)
		if (actors[i] == pid)
			actors[i] = 0;
	if (traced == pid)
		traced = 0;
}

static void bury(void)
{
	siginfo_t info;

	for (;;) {
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || !info.si_pid)
			return;
		/* The one that is traced is told of here when it stops, too. */
		if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED) {
			waitid(P_PID, (id_t)info.si_pid, &info, WSTOPPED | WNOHANG);
			continue;
		}
		if (info.si_code == CLD_KILLED && info.si_status == SIGKILL)
			tell_death(info.si_pid);
		else if (info.si_code != CLD_EXITED)
			odd_ends++;
		waitpid(info.si_pid, NULL, 0);
		forget(info.si_pid);
		__atomic_sub_fetch(&shared->processes, 1, __ATOMIC_RELAXED);
	}
}

static void start_actor(uint64_t seed, unsigned int number)
{
	struct actor actor = {
		.state = mix(seed, number + 1),
		.can_switch = number % 4 == 3,
		.is_limited = number != 0,
	};
	uid_t uid = actor.is_limited ? FIRST_LIMITED + number % LIMITED_USERS : UNLIMITED;

	__atomic_add_fetch(&shared->processes, 1, __ATOMIC_RELAXED);
	actors[number] = fork();
	if (actors[number])
		return;
	/* Only root may say so; what comes of it does as it does. */
	if (number % 2)
		write_file("/proc/self/make-it-fail", "1");
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) ||
	    setresuid(uid, uid, actor.can_switch ? 0 : uid))
		_exit(1);
	act(&actor);
}

/* Of a user who may die, with some memory, and not to be killed. */
static pid_t start_protected(void)
{
	pid_t pid = fork();
	char *memory;

	__atomic_add_fetch(&shared->processes, 1, __ATOMIC_RELAXED);
	if (pid)
		return pid;
	write_file("/proc/self/oom_score_adj", "-1000");
	if (setresuid(FIRST_LIMITED, FIRST_LIMITED, FIRST_LIMITED))
		_exit(1);
	memory = mmap(NULL, PROTECTED_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (memory != MAP_FAILED)
		memset(memory, 1, PROTECTED_SIZE);
	while (!__atomic_load_n(&shared->end, __ATOMIC_RELAXED))
		sleep_ms(20);
	_exit(0);
}

static void load_module(const char *folder, const char *name)
{
	char path[256];
	struct stat status;
	void *image;
	int fd;

	snprintf(path, sizeof(path), "%s/%s.ko", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status)) {
		complain("%s: %s", path, strerror(errno));
		mistakes++;
		return;
	}
	image = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (syscall(__NR_init_module, image, (unsigned long)status.st_size, "") && errno != EEXIST) {
		complain("load %s: %s", name, strerror(errno));
		mistakes++;
	}
	munmap(image, (size_t)status.st_size);
}

static void reload(uint64_t *state, const char *folder)
{
	static const char *const names[] = { "set_mm_limits", "my_oom_killer" };
	const char *name = names[pick(state, 2)];

	if (!folder)
		return;
	syscall(__NR_delete_module, name, O_NONBLOCK);
	sleep_ms(pick(state, 10));
	load_module(folder, name);
}

static void change_limit(uint64_t *state)
{
	static const char *const policies[] = { "-", "rss", "runtime", "badness" };
	uid_t uid = FIRST_LIMITED + pick(state, LIMITED_USERS);
	char line[128];

	if (pick(state, 2)) {
		set_mm_limits(uid, pick(state, 12) ? (8UL + pick(state, 32)) << 20 : ~0UL);
		return;
	}
	snprintf(line, sizeof(line), "uid=%u max=%uM grace=%u policy=%s dry_run=0\n", (unsigned int)uid,
		 8 + pick(state, 32), pick(state, 8) == 0, policies[pick(state, 4)]);
	write_file("/proc/mm_limits", line);
}

static void change_range(uint64_t *state)
{
	char line[64];

	if (pick(state, 2))
		snprintf(line, sizeof(line), "uid=10070-10072 max=%uM\n", 8 + pick(state, 32));
	else
		snprintf(line, sizeof(line), "uid=10070-10072 max=none\n");
	write_file("/proc/mm_limits", line);
}

static void find_freezer(void)
{
	unsigned int i;

	mkdir(FREEZER, 0700);
	for (i = 0; !freezer && i < sizeof(freezers) / sizeof(freezers[0]); i++) {
		if (mount("none", FREEZER, freezers[i].type, 0, freezers[i].options))
			continue;
		if (!mkdir(FREEZER "/actors", 0700) && write_file(freezers[i].file, freezers[i].thawed))
			freezer = &freezers[i];
		else
			umount2(FREEZER, MNT_DETACH);
	}
}

static void let_freezer_go(void)
{
	if (freezer && (rmdir(FREEZER "/actors") || umount2(FREEZER, 0))) {
		complain("freezer: %s", strerror(errno));
		mistakes++;
	}
	rmdir(FREEZER);
}

/* Only while it is stopped: until then, again and again. */
static void let_traced_go(void)
{
	if (traced && !ptrace(PTRACE_DETACH, traced, NULL, NULL))
		traced = 0;
}

static void freeze(pid_t pid)
{
	char text[16];

	if (!freezer)
		return;
	snprintf(text, sizeof(text), "%d", pid);
	write_file(FREEZER "/actors/cgroup.procs", text);
	if (write_file(freezer->file, freezer->frozen))
		freezes++;
}

/* What keeps an actor from running, or from ending, and others who use what it uses. */
static void disturb(uint64_t *state)
{
	static char bytes[65536];
	pid_t pid = actors[pick(state, ACTORS)];

	let_traced_go();
	if (pick(state, 2) && read(PIPE_OUT, bytes, sizeof(bytes)) < 0 && errno != EAGAIN)
		mistakes++;
	if (pick(state, 2) && write(PIPE_IN, bytes, sizeof(bytes)) < 0 && errno != EAGAIN)
		mistakes++;
	if (!pid)
		return;
	switch (pick(state, 8)) {
	case 0:
		stops += !kill(pid, SIGSTOP);
		break;
	case 1: case 2:
		kill(pid, SIGCONT);
		break;
	case 3:
		if (freezer && freezer->holds_tracers)
			write_file(freezer->file, freezer->thawed);
		if (traced || ptrace(PTRACE_SEIZE, pid, NULL, NULL))
			break;
		traced = pid;
		traces += !ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
		break;
	case 4:
		freeze(pid);
		break;
	case 5: case 6:
		if (freezer)
			write_file(freezer->file, freezer->thawed);
		break;
	}
}

/* Everybody can run again, and end. */
static void let_all_go(void)
{
	unsigned int i;

	if (freezer)
		write_file(freezer->file, freezer->thawed);
	for (i = 0; i < ACTORS; i++)
		if (actors[i])
			kill(actors[i], SIGCONT);
	let_traced_go();
}

static void change_something(uint64_t *state, const struct plan *plan)
{
	static const char *const policies[] = { "rss", "runtime", "badness", "nonsense" };

	switch (pick(state, 10)) {
	case 0:
		write_file("/proc/sys/vm/mm_limits_policy", policies[pick(state, 4)]);
		break;
	case 1:
		write_file("/proc/sys/vm/mm_limits_trigger", pick(state, 3) ? "alloc" : "none");
		break;
	case 2:
		reload(state, plan->modules);
		break;
	case 3:
		change_range(state);
		break;
	case 4: case 5:
		my_oom_killer();
		break;
	default:
		change_limit(state);
	}
}

/* Allocations of those that ask for it (make-it-fail) fail so often. */
static void set_failing(unsigned long percent)
{
	char text[8], times[16];

	snprintf(text, sizeof(text), "%lu", percent);
	write_file(FAILSLAB "verbose", "0");
	write_file(FAILSLAB "task-filter", "Y");
	write_file(FAILSLAB "ignore-gfp-wait", "N");
	snprintf(times, sizeof(times), "%lu", MOST_FAULTS);
	write_file(FAILSLAB "times", times);
	write_file(FAILSLAB "interval", "1");
	write_file(FAILSLAB "probability", text);
}

/* How many have failed: the kernel counts down. */
static unsigned long count_faults(void)
{
	char text[32];

	return read_file(FAILSLAB "times", text, sizeof(text)) ?
		MOST_FAULTS - strtoul(text, NULL, 10) : 0;
}

/* Whether every user with a limit is within it, by the kernel's own account. */
static bool is_settled(char *text, size_t size)
{
	unsigned long uid, max, rss;
	char *line, *rest;

	if (!read_file("/proc/mm_limits", text, size))
		return false;
	line = strchr(text, '\n');
	while (line && *++line) {
		uid = strtoul(line, &rest, 10);
		/* A range has no usage of its own. */
		if (*rest == ' ' && sscanf(rest, "%lu %lu", &max, &rss) == 2 && rss > max && uid)
			return false;
		line = strchr(line, '\n');
	}
	return true;
}

static bool settle(const struct plan *plan)
{
	double end = now() + SETTLE_SECONDS;
	char text[4096];
	unsigned int i;

	__atomic_store_n(&shared->quiet, 1, __ATOMIC_RELAXED);
	let_all_go();
	if (plan->modules) {
		load_module(plan->modules, "set_mm_limits");
		load_module(plan->modules, "my_oom_killer");
	}
	write_file("/proc/sys/vm/mm_limits_trigger", "alloc");
	write_file("/proc/sys/vm/mm_limits_policy", "rss");
	for (i = 0; i < LIMITED_USERS; i++) {
		snprintf(text, sizeof(text), "uid=%u max=%lu grace=0 policy=-\n", FIRST_LIMITED + i,
			 FINAL_LIMIT);
		if (!write_file("/proc/mm_limits", text)) {
			complain("limit of %u: %s", FIRST_LIMITED + i, strerror(errno));
			mistakes++;
		}
	}
	while (now() < end) {
		if (my_oom_killer() < 0) {
			complain("my_oom_killer: %s", strerror(errno));
			mistakes++;
			return false;
		}
		bury();
		let_traced_go();
		if (is_settled(text, sizeof(text)))
			return true;
		sleep_ms(50);
	}
	say("not settled: %s", text);
	return false;
}

/* Tells everybody to end; who does not is told of, and killed. */
static bool end_all(void)
{
	double end = now() + END_SECONDS;

	__atomic_store_n(&shared->end, 1, __ATOMIC_RELAXED);
	while (now() < end) {
		bury();
		let_traced_go();
		if (waitid(P_ALL, 0, &(siginfo_t){ 0 }, WEXITED | WNOHANG | WNOWAIT) &&
		    errno == ECHILD)
			return true;
		sleep_ms(10);
	}
	say("stuck: %d processes have not ended", __atomic_load_n(&shared->processes,
								 __ATOMIC_RELAXED));
	return false;
}

static void clean_up(void)
{
	unsigned int i;

	write_file("/proc/mm_limits", "uid=10070-10072 max=none\n");
	for (i = 0; i < LIMITED_USERS; i++)
		set_mm_limits(FIRST_LIMITED + i, ~0UL);
	set_failing(0);
	let_freezer_go();
}

bool drive(const struct plan *plan)
{
	uint64_t state = mix(plan->seed, 0);
	bool settled, ended, alive;
	pid_t protected;
	unsigned int i;
	unsigned long faults;
	double end;

	for (i = 0; i < LIMITED_USERS; i++)
		set_mm_limits(FIRST_LIMITED + i, (8UL + pick(&state, 32)) << 20);
	set_failing(plan->failing);
	find_freezer();
	protected = start_protected();
	for (i = 0; i < ACTORS; i++)
		start_actor(plan->seed, i);
	end = now() + (double)plan->milliseconds / 1000;
	while (now() < end) {
		change_something(&state, plan);
		disturb(&state);
		bury();
		sleep_ms(5 + pick(&state, 30));
	}
	settled = settle(plan);
	alive = kill(protected, 0) == 0;
	ended = end_all();
	faults = count_faults();
	clean_up();
	say("counts: calls=%u, forks=%u, threads=%u, shares=%u, execs=%u, switches=%u, refused=%u, "
	    "pipes=%u, stops=%u, traces=%u, freezes=%u, deaths=%u, odd=%u, faults=%lu", shared->calls, shared->forks, shared->threads, shared->shares,
	    shared->execs, shared->switches, shared->refused,
	    shared->pipes, stops, traces, freezes, deaths, odd_ends, faults);
	say("ends: settled=%d, ended=%d, protected=%d, mistakes=%u", settled, ended, alive, mistakes);
	return settled && ended && alive && !mistakes;
}
