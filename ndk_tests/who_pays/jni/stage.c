// SPDX-License-Identifier: GPL-2.0-only
/* See stage.h. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "output.h"
#include "stage.h"
#include "thread.h"

/* For what it takes to print a line. */
#define STACK_SIZE	(128UL * 1024)

/* What one page table names, and less faults than a thread holds back. */
#define BY_ONE_PAGE_TABLE	(2UL * 1024 * 1024)
#define FAULTS_BETWEEN		60

static int stage_steps = -1;

void stage_fail(const char *what)
{
	complain("%s: %s", what, strerror(errno));
	_exit(EXIT_UNEXPECTED);
}

void stage_open(int fd)
{
	stage_steps = fd;
}

int stage_fd(void)
{
	return stage_steps;
}

void stage_wait(unsigned int step)
{
	say("waiting: step=%u", step);
	stage_hear(stage_steps, 1);
}

static char *map_anonymous(unsigned long size, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		stage_fail("mmap");
	return memory;
}

char *stage_map(unsigned long size)
{
	return map_anonymous(size, MAP_PRIVATE);
}

void stage_touch(volatile char *memory, unsigned long size)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned long offset;

	for (offset = 0; offset < size; offset += page)
		memory[offset] = 1;
}

void stage_hold_private(unsigned long size)
{
	stage_touch(stage_map(size), size);
}

void stage_hold(unsigned long size)
{
	stage_hold_private(size);
	say("holds: pid=%d, mem=%lu", (int)stage_pid(), size);
}

void stage_hold_unmapping(unsigned long size)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	volatile char *memory = stage_map(size), *spare = stage_map(page);
	unsigned long offset, faults = 0;

	for (offset = 0; offset < size; offset += BY_ONE_PAGE_TABLE)
		memory[offset] = 1;
	for (offset = 0; offset < size; offset += page) {
		memory[offset] = 1;
		if (++faults % FAULTS_BETWEEN)
			continue;
		*spare = 1;
		if (madvise((void *)spare, page, MADV_DONTNEED) < 0)
			stage_fail("madvise");
	}
}

void stage_hold_shared(unsigned long size)
{
	stage_touch(map_anonymous(size, MAP_SHARED), size);
}

void stage_hold_file(unsigned long size)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	unsigned long held, offset, length;
	struct stat status;
	char path[64];
	int fd;

	/* This thread's own: Linux 3.4 shows it nothing of the others once the uid has changed. */
	snprintf(path, sizeof(path), "/proc/self/task/%ld/exe", syscall(__NR_gettid));
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &status) < 0)
		stage_fail(path);
	length = (unsigned long)status.st_size;
	for (held = 0; held < size; held += length) {
		const volatile char *file = mmap(NULL, length, PROT_READ, MAP_PRIVATE, fd, 0);

		if (file == MAP_FAILED)
			stage_fail("mmap");
		for (offset = 0; offset < length; offset += page)
			(void)file[offset];
	}
	close(fd);
}

void stage_fold(void)
{
	unsigned long page = (unsigned long)sysconf(_SC_PAGESIZE);
	char *memory = stage_map(page);

	stage_touch(memory, page);
	if (munmap(memory, page) < 0)
		stage_fail("munmap");
}

void stage_bind(void)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		stage_fail("prctl");
}

pid_t stage_child(void)
{
	pid_t elder = stage_pid();
	pid_t pid = fork();

	if (pid < 0)
		stage_fail("fork");
	if (pid == 0) {
		stage_bind();
		/* It can have been killed before. */
		if (getppid() != elder)
			_exit(EXIT_EXPECTED);
	}
	return pid;
}

void stage_set_uids(uid_t real, uid_t effective, uid_t saved)
{
	if (set_thread_uids(real, effective, saved) < 0)
		stage_fail("setresuid");
	say("uids: pid=%d, tid=%d, real=%u, effective=%u", (int)stage_pid(),
	    (int)syscall(__NR_gettid), (unsigned int)getuid(), (unsigned int)geteuid());
}

void stage_become(uid_t uid)
{
	stage_set_uids(uid, uid, uid);
}

void stage_thread(void *(*body)(void *), void *arg)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	errno = pthread_create(&thread, &attributes, body, arg);
	if (errno != 0)
		stage_fail("pthread_create");
	pthread_attr_destroy(&attributes);
}

void stage_share(int (*body)(void *), void *arg, int flags)
{
	char *stack = stage_map(STACK_SIZE);

	if (clone(body, stack + STACK_SIZE, flags | CLONE_VM | SIGCHLD, arg) < 0)
		stage_fail("clone");
}

pid_t stage_pid(void)
{
	return (pid_t)syscall(__NR_getpid);
}

void stage_pipe(int fds[2])
{
	if (pipe(fds) < 0)
		stage_fail("pipe");
}

void stage_tell(int fd, unsigned long count)
{
	while (count > 0) {
		ssize_t written = write(fd, "", 1);

		if (written == 1)
			count--;
		else if (errno != EINTR)
			stage_fail("write");
	}
}

bool stage_hear(int fd, unsigned long count)
{
	while (count > 0) {
		char byte;
		ssize_t got = read(fd, &byte, 1);

		if (got == 0)
			return false;
		if (got == 1)
			count--;
		else if (errno != EINTR)
			stage_fail("read");
	}
	return true;
}

void stage_say_process(void)
{
	say("process: pid=%d, uid=%u", (int)stage_pid(), (unsigned int)getuid());
}
