/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_OOM_H
#define _LINUX_OOM_H

#define OOM_SCORE_ADJ_MIN (-1000)

#endif
