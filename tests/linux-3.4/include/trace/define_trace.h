/* SPDX-License-Identifier: GPL-2.0-only */
/* Nothing: linux/tracepoint.h there has done it all. */
