// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is written to /proc/mm_limits: one line that sets all there is of a limit.
 *
 *	uid=10070 max=100M grace=5 policy=runtime dry_run=0
 *	uid=10000-19999 max=64M
 *
 * What is not named stays as it is. A range of users gives a limit to each of
 * them that has none of its own. max=none removes, policy=- goes back to the
 * current one.
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
	bool has_uid;
	struct mm_limits_settings set;
};

static bool mm_limits_parse_uid(char *value, struct mm_limits_line *line)
{
	char *first = strsep(&value, "-");

	if (kstrtouint(first, 10, &line->first))
		return false;
	line->last = line->first;
	if (value && kstrtouint(value, 10, &line->last))
		return false;
	line->has_uid = true;
	/* Root has no limit, and -1 is nobody. */
	return line->first && line->first <= line->last && line->last != (uid_t)-1;
}

static bool mm_limits_parse_max(char *value, struct mm_limits_line *line)
{
	unsigned long *max = &line->set.max;
	size_t digits = strspn(value, "0123456789");

	line->set.given |= MM_LIMITS_MAX;
	*max = ULONG_MAX;
	if (!strcmp(value, "none"))
		return true;
	if (value[digits]) {
		unsigned long long bytes;

		/* Short enough not to overflow. */
		if (!digits || digits > 9 || !strchr("KMG", value[digits]) || value[digits + 1])
			return false;
		bytes = memparse(value, NULL);
		if (bytes > ULONG_MAX)
			return false;
		*max = bytes;
	} else if (kstrtoul(value, 10, max)) {
		return false;
	}
	return *max >= PAGE_SIZE && *max < ULONG_MAX;
}

static bool mm_limits_parse_grace(char *value, struct mm_limits_line *line)
{
	line->set.given |= MM_LIMITS_GRACE;
	return !kstrtouint(value, 10, &line->set.grace) &&
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

static bool mm_limits_parse_word(char *word, struct mm_limits_line *line)
{
	char *value = word;
	char *name = strsep(&value, "=");
	unsigned int i;

	for (i = 0; value && i < ARRAY_SIZE(mm_limits_words); i++)
		if (!strcmp(name, mm_limits_words[i].name))
			return mm_limits_words[i].parse(value, line);
	return false;
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

static int mm_limits_parse(char *text, struct mm_limits_line *line)
{
	char copy[40];
	char *word;

	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		snprintf(copy, sizeof(copy), "%s", word);
		if (!mm_limits_parse_word(word, line))
			return mm_limits_complain("not understood", copy);
	}
	if (!line->has_uid)
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
 * @buffer:	one line, see above
 * @count:	its length
 * @pos:	not looked at: every write stands for itself
 *
 * Context: process context, may sleep.
 * Return: @count; -EPERM without CAP_SYS_RESOURCE; -EINVAL for what is not
 * understood, with a line in the kernel log that names the word; -E2BIG; and
 * what mm_limits_apply() and mm_limits_apply_range() return.
 */
ssize_t mm_limits_control(struct file *file, const char __user *buffer, size_t count,
			  loff_t *pos)
{
	struct mm_limits_line line = { };
	char text[MM_LIMITS_LINE_LEN];
	int ret;

	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;
	if (count >= sizeof(text))
		return -E2BIG;
	if (copy_from_user(text, buffer, count))
		return -EFAULT;
	text[count] = '\0';
	ret = mm_limits_parse(text, &line);
	if (!ret)
		ret = mm_limits_do_line(&line);
	return ret < 0 ? ret : count;
}
