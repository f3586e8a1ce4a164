// SPDX-License-Identifier: MIT
/*
 * su in Android's form: su [--keep-oom-score] [UID|NAME [COMMAND [ARGUMENT...]]]
 *
 * Becomes the user, in a group of the same number and in no other, and runs
 * COMMAND directly, without a shell in between; without COMMAND, a shell.
 * Busybox's su wants NAME -c COMMAND and knows no bare numbers.
 *
 * Exit status: the command's; 126 it cannot be run, 127 it is not there,
 * 1 for anything before that, as from the shell.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHELL "/system/bin/sh"

/* A number that is a uid: digits only, and not (uid_t)-1, which means "leave it". */
static int parse_uid(const char *text, uid_t *uid)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value != (uid_t)value || (uid_t)value == (uid_t)-1)
		return 0;
	*uid = (uid_t)value;
	return 1;
}

/*
 * The entry of the user that who names or numbers, or NULL. Read with
 * fgetpwent: getpwnam in a static program wants shared libraries.
 */
static struct passwd *find_user(const char *who, int by_uid, uid_t uid)
{
	struct passwd *entry = NULL;
	FILE *file = fopen("/etc/passwd", "re");

	if (!file)
		return NULL;
	while ((entry = fgetpwent(file)))
		if (by_uid ? entry->pw_uid == uid : !strcmp(entry->pw_name, who))
			break;
	fclose(file);
	return entry;
}

/*
 * adbd keeps its children from the OOM killer (-950); an app starts at 0. Too
 * little privilege to change it is no reason to fail.
 */
static void reset_oom_score(void)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "we");

	if (!file)
		return;
	fputs("0", file);
	fclose(file);
}

static int become(uid_t uid, gid_t gid)
{
	/* In this order: without uid 0 the other two are no longer allowed. */
	return setgroups(0, NULL) || setgid(gid) || setuid(uid);
}

int main(int argc, char **argv)
{
	static char *shell[] = { SHELL, NULL };
	int keep = argc > 1 && !strcmp(argv[1], "--keep-oom-score");
	const char *who;
	char **command;
	struct passwd *user;
	uid_t uid = 0;
	gid_t gid;
	int by_uid;

	argc -= keep;
	argv += keep;
	who = argc > 1 ? argv[1] : "root";
	command = argc > 2 ? argv + 2 : shell;
	by_uid = parse_uid(who, &uid);
	user = find_user(who, by_uid, uid);
	if (!user && !by_uid) {
		fprintf(stderr, "su: no user is called '%s'\n", who);
		return 1;
	}
	if (user)
		uid = user->pw_uid;
	gid = user ? user->pw_gid : (gid_t)uid;
	if (!keep)
		reset_oom_score();
	if (become(uid, gid)) {
		fprintf(stderr, "su: cannot become uid %u: %s\n", uid, strerror(errno));
		return 1;
	}
	setenv("HOME", user ? user->pw_dir : "/", 1);
	setenv("USER", user ? user->pw_name : who, 1);
	setenv("LOGNAME", user ? user->pw_name : who, 1);
	setenv("SHELL", SHELL, 1);
	execvp(command[0], command);
	fprintf(stderr, "su: %s: %s\n", command[0], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
