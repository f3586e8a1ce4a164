/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One round of a fuzz test. A driver (root) changes limits, policies and modules
 * while actors, processes of several users, take memory, give it back, multiply,
 * change users, execute themselves anew and make calls that make no sense. The driver
 * stops, traces and freezes some of them, and uses the pipe that they fill. All
 * that they do comes of one seed.
 */
#ifndef MM_LIMITS_FUZZ_H
#define MM_LIMITS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The users of whom processes may die, and one of whom none may. */
#define LIMITED_USERS	3
#define FIRST_LIMITED	10070
#define UNLIMITED	10080

/* The file descriptor of what they share; also behind an exec. */
#define SHARED_FD	9
/* And of a pipe: its end to read from, and the one to write to. */
#define PIPE_OUT	10
#define PIPE_IN		11
#define MOST_PROCESSES	60

struct shared {
	int quiet;	/* nobody grows any more */
	int end;	/* everybody exits */
	int processes;	/* that have not been reaped */
	unsigned int calls;
	unsigned int forks;
	unsigned int threads;
	unsigned int shares;	/* clone(CLONE_VM) and vfork() */
	unsigned int execs;
	unsigned int switches;	/* of user */
	unsigned int pipes;	/* reads and writes of the pipe */
	unsigned int refused;	/* allocations that were made to fail, or did */
};

struct actor {
	uint64_t state;		/* of its random numbers */
	unsigned int depth;	/* generations since the driver */
	bool can_switch;	/* has root as its saved uid */
	bool is_limited;
};

struct plan {
	uint64_t seed;
	unsigned long milliseconds;
	unsigned long failing;	/* percent of the actors' slab allocations that fail */
	const char *modules;	/* the folder with the modules; NULL: they stay as they are */
};

extern struct shared *shared;

/* xorshift64*: the next number below @below. */
unsigned int pick(uint64_t *state, unsigned int below);
uint64_t mix(uint64_t seed, uint64_t more);

bool map_shared(void);

/* Acts until it is told to end, and never returns. */
void act(struct actor *actor) __attribute__((noreturn));
/* The arguments of an actor that executed itself; false if they make no sense. */
bool actor_from_arguments(char **words, struct actor *actor);

/* Returns whether all went as it should, as far as the device can tell. */
bool drive(const struct plan *plan);

#endif
