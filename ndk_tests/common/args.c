// SPDX-License-Identifier: GPL-2.0-only
/* Reading arguments; see args.h. */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"

#define DAY_SECONDS	86400UL
#define MARKER_MOST	64
#define ADJ_MOST	1000

/* Android's numbers: the first app's uid, and how many apps a user may have. */
#define APP_FIRST_UID	10000
#define APP_MOST	9999

bool parse_ulong(const char *text, unsigned long *value)
{
	unsigned long number;

	/* strtoul() would take signs and leading spaces. */
	if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
		return false;
	errno = 0;
	number = strtoul(text, NULL, 10);
	if (errno != 0)
		return false;
	*value = number;
	return true;
}

bool parse_ulong_upto(const char *text, unsigned long most, unsigned long *value)
{
	unsigned long number;

	if (!parse_ulong(text, &number) || number > most)
		return false;
	*value = number;
	return true;
}

bool parse_adj(const char *text, int *adj)
{
	bool negative = text[0] == '-';
	unsigned long number;

	if (!parse_ulong_upto(text + negative, ADJ_MOST, &number))
		return false;
	*adj = negative ? -(int)number : (int)number;
	return true;
}

bool parse_seconds(const char *text, unsigned long *milliseconds)
{
	size_t whole_length = strcspn(text, ".");
	const char *fraction = text + whole_length;
	unsigned long whole, parts = 0;
	char digits[16], padded[4] = "000";

	if (whole_length >= sizeof(digits))
		return false;
	memcpy(digits, text, whole_length);
	digits[whole_length] = '\0';
	if (!parse_ulong_upto(digits, DAY_SECONDS, &whole))
		return false;
	if (*fraction == '.') {
		size_t length = strlen(++fraction);

		if (length == 0 || length > 3)
			return false;
		memcpy(padded, fraction, length);
		if (!parse_ulong(padded, &parts))
			return false;
	}
	*milliseconds = whole * 1000 + parts;
	return true;
}

#ifdef __BIONIC__

static bool find_user(const char *name, uid_t *uid)
{
	const struct passwd *entry = getpwnam(name);

	if (!entry)
		return false;
	*uid = entry->pw_uid;
	return true;
}

#else

/* The uid in a line of the passwd file, "name:password:uid:…", if it is @name's. */
static bool uid_of_line(char *line, const char *name, uid_t *uid)
{
	size_t length = strlen(name);
	unsigned long number;
	char *field;

	if (strncmp(line, name, length) != 0 || line[length] != ':')
		return false;
	field = strchr(line + length + 1, ':');
	if (!field)
		return false;
	field++;
	field[strcspn(field, ":\n")] = '\0';
	if (!parse_ulong_upto(field, UINT32_MAX, &number))
		return false;
	*uid = (uid_t)number;
	return true;
}

/*
 * A static program cannot count on glibc's getpwnam(), which loads shared
 * libraries, and the linker says so.
 */
static bool find_user(const char *name, uid_t *uid)
{
	FILE *passwd;
	char line[512];
	bool found = false, at_start = true;

	/* An empty name would find a line without one, and ':' ends a name. */
	if (name[0] == '\0' || strpbrk(name, ":\n"))
		return false;
	passwd = fopen("/etc/passwd", "re");
	if (!passwd)
		return false;
	while (!found && fgets(line, sizeof(line), passwd)) {
		/* A line that is longer than the buffer comes in parts. */
		bool whole = strchr(line, '\n');

		found = at_start && uid_of_line(line, name, uid);
		at_start = whole;
	}
	fclose(passwd);
	return found;
}

#endif

bool parse_user(const char *text, uid_t *uid)
{
	static const char app_prefix[] = "u0_a";
	unsigned long number;

	if (parse_ulong_upto(text, UINT32_MAX, &number)) {
		*uid = (uid_t)number;
		return true;
	}
	if (strncmp(text, app_prefix, strlen(app_prefix)) == 0 &&
	    parse_ulong_upto(text + strlen(app_prefix), APP_MOST, &number)) {
		*uid = (uid_t)(APP_FIRST_UID + number);
		return true;
	}
	return find_user(text, uid);
}

bool parse_marker(const char *text)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:+-";
	size_t length = strlen(text);

	return length > 0 && length <= MARKER_MOST && length == strspn(text, allowed);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* One escape, behind its backslash: the byte, and how long it was; NUL if bad. */
static char unescape(const char *text, size_t *length)
{
	int high, low;

	*length = 1;
	switch (text[0]) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case '\\':
		return '\\';
	case 'x':
		high = hex_digit(text[1]);
		low = high < 0 ? -1 : hex_digit(text[2]);
		if (low < 0)
			return '\0';
		*length = 3;
		return (char)(high * 16 + low);
	default:
		return '\0';
	}
}

bool parse_comm(const char *text, char *name, size_t size)
{
	size_t used = 0;

	while (*text != '\0') {
		size_t length = 1;
		char byte = *text;

		if (byte == '\\') {
			byte = unescape(++text, &length);
			if (byte == '\0')
				return false;
		}
		if (used + 1 >= size)
			return false;
		name[used++] = byte;
		text += length;
	}
	name[used] = '\0';
	return true;
}
