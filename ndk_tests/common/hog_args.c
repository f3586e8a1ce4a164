// SPDX-License-Identifier: GPL-2.0-only
/* The arguments of the programs that have children; see hog.h. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "args.h"
#include "hog.h"
#include "output.h"

#define DEFAULT_SETTLE_MS	300
#define DEFAULT_WAIT_MS		10000
#define DEFAULT_TIMEOUT_MS	60000

/* Each child costs the parent a file descriptor, of which it has 1024. */
#define MOST_CHILDREN		1000

/* The longest part of a child's description is a name of escapes. */
#define FIELD_SIZE		128

/* Takes the part of *@text before the next comma into @field; NULL at the end. */
static bool next_field(const char **text, char field[FIELD_SIZE])
{
	size_t length = strcspn(*text, ",");

	if (length >= FIELD_SIZE)
		return false;
	memcpy(field, *text, length);
	field[length] = '\0';
	*text = (*text)[length] == ',' ? *text + length + 1 : NULL;
	return true;
}

/* The value of "key=value" if @field has that key, otherwise NULL. */
static const char *value_of(const char *field, const char *key)
{
	size_t length = strlen(key);

	if (strncmp(field, key, length) != 0 || field[length] != '=')
		return NULL;
	return field + length + 1;
}

static bool parse_leader(const char *text, enum hog_leader *leader)
{
	*leader = strcmp(text, "exits") == 0 ? HOG_LEADER_EXITS : HOG_LEADER_WAITS;
	return *leader == HOG_LEADER_EXITS || strcmp(text, "waits") == 0;
}

/* Takes a field that says who the child is, or how it comes by its memory. */
static bool parse_manner(const char *field, struct hog_spec *spec)
{
	const char *value;

	value = value_of(field, "user");
	if (value) {
		spec->has_uid = true;
		return parse_user(value, &spec->uid);
	}
	value = value_of(field, "then");
	if (value) {
		spec->has_later_uid = true;
		return parse_user(value, &spec->later_uid);
	}
	value = value_of(field, "leader");
	if (value)
		return parse_leader(value, &spec->leader);
	if (strcmp(field, "reads") == 0) {
		spec->reads = true;
		return true;
	}
	spec->is_sharer = strcmp(field, "sharer") == 0;
	return spec->is_sharer;
}

static bool parse_extra(const char *field, struct hog_spec *spec)
{
	const char *value;

	value = value_of(field, "cpu");
	if (value)
		return parse_ulong(value, &spec->cpu_ms);
	value = value_of(field, "adj");
	if (value) {
		spec->has_adj = true;
		return parse_adj(value, &spec->adj);
	}
	value = value_of(field, "name");
	if (value) {
		spec->has_name = true;
		return parse_comm(value, spec->name, sizeof(spec->name));
	}
	return parse_manner(field, spec);
}

static bool parse_spec(const char *text, struct hog_spec *spec)
{
	char field[FIELD_SIZE];

	if (!next_field(&text, field) || !parse_ulong(field, &spec->size) || spec->size == 0)
		return false;
	while (text) {
		if (!next_field(&text, field) || !parse_extra(field, spec))
			return false;
	}
	return true;
}

/* Stores one option's value; false if it makes no sense. */
static bool take_option(int option, const char *value, struct hog_options *options)
{
	switch (option) {
	case 'a':
		options->together = true;
		return true;
	case 'e':
		options->expected = value;
		return value[strspn(value, "LKF?")] == '\0';
	case 'f':
		options->zeros = value;
		return true;
	case 'm':
		options->marker = value;
		return parse_marker(value);
	case 'n':
		options->set_limit = false;
		return true;
	case 's':
		return parse_ulong_upto(value, INT_MAX, &options->settle_ms);
	case 't':
		return parse_seconds(value, &options->timeout_ms);
	case 'u':
		options->until = value;
		return true;
	case 'w':
		return parse_seconds(value, &options->wait_ms);
	default:
		return false;
	}
}

/* Whether what a child needs is there; says what is not. */
static bool is_possible(const struct hog_options *options, unsigned int index)
{
	const struct hog_spec *spec = &options->specs[index];

	if (spec->reads && !options->zeros)
		complain("child %u has no file to read: -f", index);
	else if (spec->is_sharer && index == 0)
		complain("child 0 has no child before it to share with");
	else if (spec->is_sharer && options->together)
		complain("child %u shares memory, so -a is not possible", index);
	else if (spec->is_sharer && (spec->leader != HOG_LEADER_WORKS || spec->has_later_uid))
		complain("child %u shares memory: no leader= and no then=", index);
	else
		return true;
	return false;
}

/* Reads USER, LIMIT and the SIZEs. */
static bool take_arguments(int count, char **words, struct hog_options *options)
{
	int index;

	if (count < 3) {
		complain("wants a user, a limit and at least one size");
		return false;
	}
	if (!parse_user(words[0], &options->uid)) {
		complain("no such user: %s", words[0]);
		return false;
	}
	if (!parse_ulong(words[1], &options->limit)) {
		complain("not a limit in bytes: %s", words[1]);
		return false;
	}
	options->set_limit = options->set_limit && options->limit != 0;
	options->count = (unsigned int)(count - 2);
	if (options->count > MOST_CHILDREN) {
		complain("%u children are more than %d", options->count, MOST_CHILDREN);
		return false;
	}
	options->specs = calloc(options->count, sizeof(*options->specs));
	if (!options->specs) {
		complain("no memory for %u children", options->count);
		return false;
	}
	for (index = 2; index < count; index++) {
		if (!parse_spec(words[index], &options->specs[index - 2])) {
			complain("not a child: %s", words[index]);
			return false;
		}
		if (!is_possible(options, (unsigned int)(index - 2)))
			return false;
	}
	if (options->expected && strlen(options->expected) != options->count) {
		complain("-e %s: one letter is needed for each of %u children",
			 options->expected, options->count);
		return false;
	}
	return true;
}

int hog_parse(const struct hog_flavour *flavour, int argc, char **argv,
	      struct hog_options *options)
{
	const char *known = flavour->waits_for_daemon ? "+hae:f:m:ns:t:u:w:" : "+hae:f:m:ns:t:u:";
	int option;

	*options = (struct hog_options){
		.marker = "none",
		.set_limit = true,
		.settle_ms = DEFAULT_SETTLE_MS,
		.wait_ms = flavour->waits_for_daemon ? DEFAULT_WAIT_MS : 0,
		.timeout_ms = DEFAULT_TIMEOUT_MS,
	};
	while ((option = getopt(argc, argv, known)) != -1) {
		if (option == 'h')
			return show_help(flavour->usage);
		if (option == '?')
			return refuse(flavour->usage);
		if (!take_option(option, optarg, options)) {
			complain("not a value of -%c: %s", option, optarg);
			return refuse(flavour->usage);
		}
	}
	if (!take_arguments(argc - optind, argv + optind, options))
		return refuse(flavour->usage);
	return -1;
}
