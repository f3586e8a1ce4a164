// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is written to /proc/mm_limits: one line that sets all there is of a limit.
 *
 *	uid=10070 max=100M grace=5 policy=runtime dry_run=0
 *	uid=10000-19999 max=64M
 *
 * What is not named stays as it is, but a line for a range sets all there is of
 * it. A range of users gives a limit to each of them that has none of its own.
 * max=none removes, policy=- goes back to the current one. Numbers are decimal. A
 * write is one line, and does all that it says or nothing.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "internal.h"

#define MM_LIMITS_LINE_LEN	256
#define MM_LIMITS_GRACE_MOST	86400

/* What a line has been found to say. */
struct mm_limits_line {
	uid_t first;
	uid_t last;
	/* A bit for each word, by its place in mm_limits_words. */
	unsigned int seen;
	struct mm_limits_settings set;
};

/* kstrtoul() and its like would take a sign. */
static bool mm_limits_is_decimal(const char *text)
{
	return *text && !text[strspn(text, "0123456789")];
}

static bool mm_limits_parse_number(const char *text, unsigned int *number)
{
	return mm_limits_is_decimal(text) && !kstrtouint(text, 10, number);
}

/* memparse() would take 010M for octal, and let an overflow go. */
static bool mm_limits_parse_bytes(char *text, unsigned long *bytes)
{
	static const char units[] = "KMG";
	size_t digits = strspn(text, "0123456789");
	const char *unit = text[digits] ? strchr(units, text[digits]) : NULL;
	unsigned int shift = unit ? 10 * (unit - units + 1) : 0;

	if (unit && !text[digits + 1])
		text[digits] = '\0';
	if (!mm_limits_is_decimal(text) || kstrtoul(text, 10, bytes))
		return false;
	if (*bytes > ULONG_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

static bool mm_limits_parse_uid(char *value, struct mm_limits_line *line)
{
	char *first = strsep(&value, "-");

	if (!mm_limits_parse_number(first, &line->first))
		return false;
	line->last = line->first;
	if (value && !mm_limits_parse_number(value, &line->last))
		return false;
	/* Root has no limit, and -1 is nobody. */
	return line->first && line->first <= line->last && line->last != (uid_t)-1;
}

static bool mm_limits_parse_max(char *value, struct mm_limits_line *line)
{
	unsigned long *max = &line->set.max;

	line->set.given |= MM_LIMITS_MAX;
	*max = ULONG_MAX;
	if (!strcmp(value, "none"))
		return true;
	if (!mm_limits_parse_bytes(value, max))
		return false;
	return *max >= PAGE_SIZE && *max < ULONG_MAX;
}

static bool mm_limits_parse_grace(char *value, struct mm_limits_line *line)
{
	line->set.given |= MM_LIMITS_GRACE;
	return mm_limits_parse_number(value, &line->set.grace) &&
	       line->set.grace <= MM_LIMITS_GRACE_MOST;
}

static bool mm_limits_parse_policy(char *value, struct mm_limits_line *line)
{
	line->set.given |= MM_LIMITS_POLICY;
	if (!strcmp(value, "-"))
		return true;
	if (strlen(value) >= sizeof(line->set.policy) || !mm_limits_policy_exists(value))
		return false;
	snprintf(line->set.policy, sizeof(line->set.policy), "%s", value);
	return true;
}

static bool mm_limits_parse_dry_run(char *value, struct mm_limits_line *line)
{
	line->set.given |= MM_LIMITS_DRY_RUN;
	line->set.dry_run = *value == '1';
	return (*value == '0' || *value == '1') && !value[1];
}

static const struct {
	const char *name;
	bool (*parse)(char *value, struct mm_limits_line *line);
} mm_limits_words[] = {
	{ "uid",	mm_limits_parse_uid },
	{ "max",	mm_limits_parse_max },
	{ "grace",	mm_limits_parse_grace },
	{ "policy",	mm_limits_parse_policy },
	{ "dry_run",	mm_limits_parse_dry_run },
};

/* Returns the place of @name in mm_limits_words, or a negative number. */
static int mm_limits_word_index(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mm_limits_words); i++)
		if (!strcmp(name, mm_limits_words[i].name))
			return i;
	return -1;
}

/* Privileged people only get here, so this may be said each time. */
static int mm_limits_complain(const char *what, const char *word)
{
	char shown[40];
	unsigned int i;

	snprintf(shown, sizeof(shown), "%s", word);
	for (i = 0; shown[i]; i++)
		if (!isascii(shown[i]) || !isprint(shown[i]))
			shown[i] = '?';
	pr_notice("mm_limits: %s: %s\n", what, shown);
	return -EINVAL;
}

/* Returns 0, or what mm_limits_complain() returns. */
static int mm_limits_parse_word(char *word, struct mm_limits_line *line)
{
	char *value = word;
	char copy[40];
	int index;

	/* It is cut into pieces. */
	snprintf(copy, sizeof(copy), "%s", word);
	index = mm_limits_word_index(strsep(&value, "="));
	if (index < 0 || !value)
		return mm_limits_complain("not understood", copy);
	if (line->seen & 1U << index)
		return mm_limits_complain("said twice", copy);
	line->seen |= 1U << index;
	if (!mm_limits_words[index].parse(value, line))
		return mm_limits_complain("not understood", copy);
	return 0;
}

static int mm_limits_parse(char *text, struct mm_limits_line *line)
{
	char *more;
	char *word;
	int ret;

	text = skip_spaces(text);
	more = strchr(text, '\n');
	if (more) {
		*more = '\0';
		more = skip_spaces(more + 1);
		if (*more)
			return mm_limits_complain("a second line", strsep(&more, " \t\n"));
	}
	while ((word = strsep(&text, " \t"))) {
		ret = *word ? mm_limits_parse_word(word, line) : 0;
		if (ret)
			return ret;
	}
	if (!line->first)
		return mm_limits_complain("missing", "uid=");
	return 0;
}

static int mm_limits_do_line(struct mm_limits_line *line)
{
	int ret;

	if (line->first == line->last)
		ret = mm_limits_apply(make_kuid(&init_user_ns, line->first), &line->set, true);
	else if (line->set.given & MM_LIMITS_MAX)
		ret = mm_limits_apply_range(line->first, line->last, &line->set);
	else
		return mm_limits_complain("missing", "max=");
	return ret == -ENOENT ? mm_limits_complain("has no limit", "uid=") : ret;
}

/**
 * mm_limits_control - write to /proc/mm_limits
 * @file:	the file
 * @buffer:	one line, see above; its end may be missing
 * @count:	its length
 * @pos:	not looked at: every write stands for itself
 *
 * Context: process context, may sleep.
 * Return: @count; -EPERM without CAP_SYS_RESOURCE; -EINVAL for what is not
 * understood, said twice or in a second line, with a line in the kernel log that
 * names the word; -E2BIG; and what mm_limits_apply() and mm_limits_apply_range() return.
 */
ssize_t mm_limits_control(struct file *file, const char __user *buffer, size_t count,
			  loff_t *pos)
{
	struct mm_limits_line line = { };
	char text[MM_LIMITS_LINE_LEN];
	size_t i;
	int ret;

	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;
	if (count >= sizeof(text))
		return -E2BIG;
	if (copy_from_user(text, buffer, count))
		return -EFAULT;
	/* It would hide what is behind it; so it is a part of a word, and no good one. */
	for (i = 0; i < count; i++)
		if (!text[i])
			text[i] = '\a';
	text[count] = '\0';
	ret = mm_limits_parse(text, &line);
	if (!ret)
		ret = mm_limits_do_line(&line);
	return ret < 0 ? ret : count;
}
