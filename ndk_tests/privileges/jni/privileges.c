// SPDX-License-Identifier: GPL-2.0-only
/*
 * Becomes a user with exactly the capabilities that are named, in a user
 * namespace or not, and then asks the kernel for one thing.
 *
 * The capabilities are set by the syscall itself: not every device has libcap.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "args.h"
#include "output.h"
#include "syscalls.h"

static const char usage[] =
	"usage: privileges [OPTION...] USER CAPS set UID BYTES|max\n"
	"       privileges [OPTION...] USER CAPS kill\n"
	"       privileges [OPTION...] USER CAPS write FILE TEXT\n"
	"       privileges [OPTION...] USER CAPS read FILE\n"
	"       privileges [OPTION...] USER CAPS touch BYTES\n"
	"Becomes USER with CAPS, makes the call, and prints what came of it.\n"
	"CAPS: all (that whoever starts this has), none, NAME[,NAME...], or -NAME[,NAME...], which\n"
	"is all but those. The NAMEs: dac_override, kill, sys_admin, sys_resource.\n"
	"  -m IN=OUT  in a new user namespace, where user OUT is called IN; once for each\n"
	"  -n COUNT   make the call so often; what came of it is printed when it changes\n"
	"  -o         open FILE before becoming USER\n"
	"  -u IN      in that namespace, become its user IN\n";

#define MOST_MAPPED	4
#define MOST_CALLS	1000000UL

/* What the call is, and how it is made. */
struct request {
	const char *name;		/* of the step that a result belongs to */
	long (*make)(struct request *request);
	uid_t uid;
	unsigned long size;
	const char *path;
	const char *text;
	int flags;			/* to open the file with */
	int fd;				/* of the file, if it is open already; or -1 */
};

struct options {
	uid_t user;
	uint64_t caps;
	bool caps_exact;		/* not having one of them is an error */
	char map[MOST_MAPPED * 32];	/* as for uid_map; empty: no namespace */
	unsigned int mapped;
	unsigned long inside;		/* whom to become there; ULONG_MAX: nobody else */
	unsigned long count;
	bool open_first;
};

static const struct {
	const char *name;
	unsigned int number;
} cap_names[] = {
	{ "dac_override",	CAP_DAC_OVERRIDE },
	{ "kill",		CAP_KILL },
	{ "sys_admin",		CAP_SYS_ADMIN },
	{ "sys_resource",	CAP_SYS_RESOURCE },
};

/* Calls */

static long call_set(struct request *request)
{
	return set_mm_limits(request->uid, request->size);
}

static long call_kill(struct request *request)
{
	(void)request;
	return my_oom_killer();
}

/* The file, open; -1 if it cannot be, which is the result then. */
static int open_file(struct request *request)
{
	request->name = "open";
	return request->fd >= 0 ? request->fd : open(request->path, request->flags);
}

static void close_file(const struct request *request, int fd)
{
	int error = errno;

	if (fd != request->fd)
		close(fd);
	errno = error;
}

static long call_write(struct request *request)
{
	int fd = open_file(request);
	long ret;

	if (fd < 0)
		return fd;
	request->name = "write";
	ret = write(fd, request->text, strlen(request->text));
	close_file(request, fd);
	return ret;
}

/* What it reads goes to standard output. */
static long call_read(struct request *request)
{
	int fd = open_file(request);
	char text[4096];
	long ret;

	if (fd < 0)
		return fd;
	request->name = "read";
	while ((ret = read(fd, text, sizeof(text))) > 0)
		if (write(STDOUT_FILENO, text, (size_t)ret) != ret)
			break;
	close_file(request, fd);
	return ret;
}

/* Memory of its own, of which every page is there afterwards. */
static long call_touch(struct request *request)
{
	void *memory = mmap(NULL, request->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -1;
	memset(memory, 1, request->size);
	return 0;
}

static void make_calls(struct request *request, unsigned long count)
{
	const char *last_name = NULL;
	long last_ret = 0;
	int last_error = 0;

	while (count--) {
		long ret = request->make(request);
		int error = ret < 0 ? errno : 0;

		if (last_name != request->name || last_ret != ret || last_error != error)
			say("call: name=%s, ret=%ld, errno=%d", request->name, ret, error);
		last_name = request->name;
		last_ret = ret;
		last_error = error;
	}
}

/* Who makes them */

static bool write_map(pid_t whose, const char *map)
{
	ssize_t length = (ssize_t)strlen(map);
	bool written;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)whose);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return false;
	/* The kernel takes it in one piece or not at all. */
	written = write(fd, map, (size_t)length) == length;
	close(fd);
	return written;
}

/*
 * A child that stays who we are now, to say for us who is who in our namespace:
 * a user may map nobody but itself. It waits until @gate is closed.
 */
static pid_t start_mapper(const char *map, int *gate)
{
	pid_t whose = getpid();
	int ends[2];
	pid_t child;
	char byte;

	if (pipe(ends) < 0)
		return -1;
	child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 && write_map(whose, map) ? 0 : 1);
	}
	close(ends[0]);
	*gate = ends[1];
	return child;
}

static bool enter_namespace(pid_t mapper, int gate)
{
	int status;

	if (unshare(CLONE_NEWUSER) < 0) {
		complain("unshare: %s", strerror(errno));
		return false;
	}
	close(gate);
	if (waitpid(mapper, &status, 0) != mapper || status != 0) {
		complain("the namespace's users cannot be mapped");
		return false;
	}
	return true;
}

/* Exactly @caps, or those of them that we have. */
static bool take_caps(uint64_t caps, bool exact)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	unsigned int i;

	if (syscall(__NR_capget, &header, data) < 0)
		return false;
	for (i = 0; i < 2; i++) {
		uint32_t wanted = (uint32_t)(caps >> (32 * i));

		if (!exact)
			wanted &= data[i].permitted;
		data[i].permitted = wanted;
		data[i].effective = wanted;
		data[i].inheritable = 0;
	}
	return syscall(__NR_capset, &header, data) == 0;
}

static bool become(const struct options *options)
{
	uid_t user = options->user;

	/* Of root's groups none is left, and of its capabilities those that take_caps() keeps. */
	if ((getuid() == 0 && setgroups(0, NULL) < 0) || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    setresgid(user, user, user) < 0 || setresuid(user, user, user) < 0 ||
	    !take_caps(options->caps, options->caps_exact)) {
		complain("cannot become user %u: %s", (unsigned int)user, strerror(errno));
		return false;
	}
	return true;
}

static bool become_inside(unsigned long user)
{
	if (user == ULONG_MAX || setresuid((uid_t)user, (uid_t)user, (uid_t)user) == 0)
		return true;
	complain("cannot become user %lu of the namespace: %s", user, strerror(errno));
	return false;
}

static int run(const struct options *options, struct request *request)
{
	pid_t mapper = -1;
	int gate = -1;

	if (options->open_first) {
		request->fd = open_file(request);
		if (request->fd < 0) {
			complain("%s: %s", request->path, strerror(errno));
			return EXIT_UNEXPECTED;
		}
	}
	if (options->mapped) {
		mapper = start_mapper(options->map, &gate);
		if (mapper < 0) {
			complain("cannot start a child: %s", strerror(errno));
			return EXIT_UNEXPECTED;
		}
	}
	if (!become(options) || (options->mapped && !enter_namespace(mapper, gate)) ||
	    !become_inside(options->inside))
		return EXIT_UNEXPECTED;
	make_calls(request, options->count);
	return EXIT_EXPECTED;
}

/* Arguments */

/* The names in @text, each once or more, as bits. */
static bool parse_names(const char *text, uint64_t *caps)
{
	*caps = 0;
	for (;;) {
		size_t length = strcspn(text, ",");
		unsigned int i;

		for (i = 0; i < sizeof(cap_names) / sizeof(cap_names[0]); i++)
			if (strlen(cap_names[i].name) == length &&
			    strncmp(cap_names[i].name, text, length) == 0)
				break;
		if (i == sizeof(cap_names) / sizeof(cap_names[0]))
			return false;
		*caps |= (uint64_t)1 << cap_names[i].number;
		if (text[length] == '\0')
			return true;
		text += length + 1;
	}
}

static bool parse_caps(const char *text, struct options *options)
{
	options->caps_exact = true;
	options->caps = 0;
	if (strcmp(text, "none") == 0)
		return true;
	if (strcmp(text, "all") != 0 && text[0] != '-')
		return parse_names(text, &options->caps);
	options->caps_exact = false;
	if (text[0] == '-' && !parse_names(text + 1, &options->caps))
		return false;
	options->caps = ~options->caps;
	return true;
}

static bool parse_map(const char *text, struct options *options)
{
	const char *equals = strchr(text, '=');
	unsigned long inside;
	uid_t outside;
	char digits[16];
	size_t used;

	if (!equals || (size_t)(equals - text) >= sizeof(digits) ||
	    options->mapped == MOST_MAPPED)
		return false;
	memcpy(digits, text, (size_t)(equals - text));
	digits[equals - text] = '\0';
	if (!parse_ulong_upto(digits, UINT32_MAX, &inside) || !parse_user(equals + 1, &outside))
		return false;
	used = strlen(options->map);
	snprintf(options->map + used, sizeof(options->map) - used, "%lu %u 1\n", inside,
		 (unsigned int)outside);
	options->mapped++;
	return true;
}

static bool parse_request(int count, char **words, struct request *request)
{
	request->fd = -1;
	if (count == 3 && strcmp(words[0], "set") == 0) {
		request->name = "set_mm_limits";
		request->make = call_set;
		request->size = ULONG_MAX;
		return parse_user(words[1], &request->uid) &&
		       (strcmp(words[2], "max") == 0 || parse_ulong(words[2], &request->size));
	}
	if (count == 1 && strcmp(words[0], "kill") == 0) {
		request->name = "my_oom_killer";
		request->make = call_kill;
		return true;
	}
	if (count == 2 && strcmp(words[0], "touch") == 0) {
		request->name = "touch";
		request->make = call_touch;
		return parse_ulong(words[1], &request->size) && request->size;
	}
	if (count == 3 && strcmp(words[0], "write") == 0) {
		request->make = call_write;
		request->text = words[2];
		request->flags = O_WRONLY;
	} else if (count == 2 && strcmp(words[0], "read") == 0) {
		request->make = call_read;
		request->flags = O_RDONLY;
	} else {
		return false;
	}
	request->path = words[1];
	return true;
}

int main(int argc, char **argv)
{
	struct options options = { .inside = ULONG_MAX, .count = 1 };
	struct request request = { };
	int option;

	program_name = "privileges";
	while ((option = getopt(argc, argv, "+hm:n:ou:")) != -1) {
		switch (option) {
		case 'h':
			return show_help(usage);
		case 'm':
			if (parse_map(optarg, &options))
				continue;
			complain("-m wants IN=OUT, at most %d times", MOST_MAPPED);
			return refuse(usage);
		case 'n':
			if (parse_ulong_upto(optarg, MOST_CALLS, &options.count) && options.count)
				continue;
			complain("-n wants a number from 1 to %lu", MOST_CALLS);
			return refuse(usage);
		case 'o':
			options.open_first = true;
			continue;
		case 'u':
			if (parse_ulong_upto(optarg, UINT32_MAX, &options.inside))
				continue;
			complain("-u wants a user");
			return refuse(usage);
		default:
			return refuse(usage);
		}
	}
	argc -= optind;
	argv += optind;
	if (argc < 3 || !parse_user(argv[0], &options.user) || !parse_caps(argv[1], &options)) {
		complain("wants a user, capabilities and a call");
		return refuse(usage);
	}
	if (!parse_request(argc - 2, argv + 2, &request)) {
		complain("the call is not understood: %s", argv[2]);
		return refuse(usage);
	}
	if (options.inside != ULONG_MAX && !options.mapped) {
		complain("-u is for a namespace: -m");
		return refuse(usage);
	}
	if (options.open_first && !request.path) {
		complain("-o is for a FILE");
		return refuse(usage);
	}
	return run(&options, &request);
}
