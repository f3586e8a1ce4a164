/* SPDX-License-Identifier: GPL-2.0-only */
/* What the C library does only for a whole process, or not at all. */
#ifndef MM_LIMITS_THREAD_H
#define MM_LIMITS_THREAD_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Changes the uids of the calling thread alone, as setresuid() does; the thread then
 * dies with its parent, which a change of the effective uid forgets. Returns 0, or -1
 * with errno.
 */
int set_thread_uids(uid_t real, uid_t effective, uid_t saved);

/* Ends the calling thread alone, also if it is the first one of its process. */
void end_thread(void) __attribute__((noreturn));

/* Waits until the first thread of the process has ended. Returns 0, or -1 with errno. */
int await_end_of_leader(void);

#endif
