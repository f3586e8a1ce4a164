/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_TRACEPOINT_H
#define _LINUX_TRACEPOINT_H

#include <linux/types.h>

/*
 * As if tracing were on: what an event stores, how, and how it is printed is
 * compiled where the event is declared.
 */
#define TP_PROTO(args...) args
#define TP_ARGS(args...) args
#define TP_STRUCT__entry(args...) args
#define TP_fast_assign(args...) args
#define TP_printk(fmt, args...) fmt, args
#define __field(type, item) type item;
#define __array(type, item, len) type item[len];
extern void trace_seq_printf(const char *fmt, ...) __printf(1, 2);
#define TRACE_EVENT(name, proto, args, tstruct, assign, print) \
	static inline void trace_##name(proto) \
	{ \
		struct { tstruct } raw, *__entry = &raw; \
		assign \
		trace_seq_printf(print); \
	}

#endif
