/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs print, and their exit statuses. */
#ifndef MM_LIMITS_OUTPUT_H
#define MM_LIMITS_OUTPUT_H

#include <stddef.h>

#define EXIT_EXPECTED	0
#define EXIT_UNEXPECTED	1
#define EXIT_USAGE	2

/* What complain() begins with; each main() sets it first. */
extern const char *program_name;

/* Writes one line to stdout; the newline is added. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Writes @text, which is @length bytes of whole lines, to stdout. */
void say_lines(const char *text, size_t length);

/* Writes one line to stderr, with the program's name before it. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints @usage because -h asked for it; returns the exit status. */
int show_help(const char *usage);

/* Prints @usage on stderr, below what complain() said; returns the exit status. */
int refuse(const char *usage);

/*
 * Prints the line that says that a test program came to its end; returns its
 * exit status.
 */
int say_done(const char *marker, unsigned int passed, unsigned int total);

#endif
