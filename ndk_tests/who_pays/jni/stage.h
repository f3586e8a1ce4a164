/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the situations are built with. Whatever goes wrong is said, and ends the
 * process with EXIT_UNEXPECTED.
 */
#ifndef MM_LIMITS_STAGE_H
#define MM_LIMITS_STAGE_H

#include <stdbool.h>
#include <sys/types.h>

/* For setresuid(): as it is. */
#define SAME_UID	((uid_t)-1)

/* Says what failed, with errno, and ends this process. */
void stage_fail(const char *what) __attribute__((noreturn));

/* Has stage_wait() wait for what comes through @fd. */
void stage_open(int fd);

/* What stage_open() got. */
int stage_fd(void);

/* Says that step @step is reached, and waits until somebody has seen it. */
void stage_wait(unsigned int step);

/* Maps @size bytes, which nobody has touched yet. */
char *stage_map(unsigned long size);

/* Writes to every page. */
void stage_touch(volatile char *memory, unsigned long size);

/* Maps and touches @size bytes, and says so. */
void stage_hold(unsigned long size);

/* The same, and says nothing. */
void stage_hold_private(unsigned long size);

/*
 * The same, but every few faults takes a page elsewhere and gives it back, which
 * has the kernel fold what the thread holds back. No page table is made meanwhile.
 */
void stage_hold_unmapping(unsigned long size);

/* The same with memory that is shared with later children. */
void stage_hold_shared(unsigned long size);

/*
 * Maps @size bytes or more of this program's own file, as often as that takes,
 * and reads them.
 */
void stage_hold_file(unsigned long size);

/*
 * Has the kernel add to the mm what it still counts for the calling thread:
 * taking a page away does that.
 */
void stage_fold(void);

/* From now on the process dies with its parent. */
void stage_bind(void);

/* A fork() whose child dies with its parent. */
pid_t stage_child(void);

/* Changes the uids of the calling thread alone, and says so. It is bound then. */
void stage_set_uids(uid_t real, uid_t effective, uid_t saved);

/* Becomes the user @uid for good. */
void stage_become(uid_t uid);

/* Starts a thread that nobody joins. */
void stage_thread(void *(*body)(void *), void *arg);

/*
 * Starts a process that shares this one's memory, and nothing else; with
 * @flags, which clone() takes.
 */
void stage_share(int (*body)(void *), void *arg, int flags);

/* The calling process; what getpid() keeps is shared with the memory. */
pid_t stage_pid(void);

/* Both ends of a pipe: the reading one first. */
void stage_pipe(int fds[2]);

/* Sends @count bytes. */
void stage_tell(int fd, unsigned long count);

/* Waits for @count bytes; returns whether they came before the end of file. */
bool stage_hear(int fd, unsigned long count);

/* Says who the calling process is. */
void stage_say_process(void);

#endif
