// SPDX-License-Identifier: GPL-2.0-only
/*
 * Output without stdio: each line is one write(2), so lines of several processes
 * never mix, and no buffer is copied by a fork and printed twice.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "output.h"

/* Long enough for every line that the programs make of numbers and a marker. */
#define LINE_SIZE 512

const char *program_name = "?";

static void write_all(int fd, const char *text, size_t length)
{
	while (length > 0) {
		ssize_t written = write(fd, text, length);

		if (written < 0) {
			if (errno == EINTR)
				continue;
			/* Nobody listens; whoever waits for the line will notice. */
			return;
		}
		text += written;
		length -= (size_t)written;
	}
}

/* Writes @prefix, the formatted text, cut if it is too long, and a newline. */
static void write_line(int fd, const char *prefix, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));

static void write_line(int fd, const char *prefix, const char *format, va_list args)
{
	char line[LINE_SIZE];
	size_t length;

	snprintf(line, sizeof(line) - 1, "%s", prefix);
	length = strlen(line);
	vsnprintf(line + length, sizeof(line) - 1 - length, format, args);
	length = strlen(line);
	line[length++] = '\n';
	write_all(fd, line, length);
}

void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(STDOUT_FILENO, "", format, args);
	va_end(args);
}

void say_lines(const char *text, size_t length)
{
	write_all(STDOUT_FILENO, text, length);
}

void complain(const char *format, ...)
{
	char prefix[64];
	va_list args;

	snprintf(prefix, sizeof(prefix), "%s: ", program_name);
	va_start(args, format);
	write_line(STDERR_FILENO, prefix, format, args);
	va_end(args);
}

int show_help(const char *usage)
{
	write_all(STDOUT_FILENO, usage, strlen(usage));
	return EXIT_EXPECTED;
}

int refuse(const char *usage)
{
	write_all(STDERR_FILENO, usage, strlen(usage));
	return EXIT_USAGE;
}

int say_done(const char *marker, unsigned int passed, unsigned int total)
{
	say("done: program=%s, marker=%s, checks=%u/%u", program_name, marker, passed, total);
	return passed == total ? EXIT_EXPECTED : EXIT_UNEXPECTED;
}
