/* SPDX-License-Identifier: GPL-2.0-only */
/* The usage text of the programs that have children. */
#ifndef MM_LIMITS_HOG_USAGE_H
#define MM_LIMITS_HOG_USAGE_H

#define HOG_USAGE(name, more_options) \
	"usage: " name " [OPTION...] USER LIMIT SIZE[,cpu=MS][,adj=N][,name=STR]\n" \
	"           [,user=U][,then=U][,leader=waits|exits][,reads][,sharer]...\n" \
	"Limits the memory of USER (a uid or a name) to LIMIT bytes (0: sets no limit), then\n" \
	"starts a child for each SIZE, one after the other, that takes and holds SIZE bytes.\n" \
	"  cpu=MS      the child first uses MS milliseconds of CPU time\n" \
	"  adj=N       its oom_score_adj\n" \
	"  name=STR    its process name; \\n \\t \\\\ \\xHH are understood; the next , ends it\n" \
	"  user=U      the child becomes U's first of all: root's program starts it\n" \
	"  then=U      it becomes U's when it has its memory\n" \
	"  leader=DOES a second thread does all this, while the first one waits or exits\n" \
	"  reads       it takes its memory by a single read() of the file of -f\n" \
	"  sharer      a process that shares the memory of the child before it, and takes\n" \
	"              SIZE bytes more there, before that child takes its own; not with -a\n" \
	"  -a          all children allocate at the same time\n" \
	"  -e LETTERS  how each child should end: L lived, K killed, F failed to allocate,\n" \
	"              ? any (default: one is killed if the SIZEs exceed LIMIT, else none)\n" \
	"  -f FILE     what children with `reads' read; it has to be long enough\n" \
	"  -m MARKER   repeated in the last line (default: none)\n" \
	"  -n          don't set the limit: it has been set before\n" \
	"  -s MS       go on when no child has died for MS milliseconds (default: 300)\n" \
	"  -t SECONDS  end by then, whatever happens (default: 60)\n" \
	"  -u FILE     hold the memory until FILE exists\n" \
	more_options

#define HOG_USAGE_WAIT \
	"  -w SECONDS  how long to wait for the first child to be killed (default: 10)\n"

#endif
