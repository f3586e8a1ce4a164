#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: kernel/pid.c has the header of PROC_PID_INIT_INO, or no need of it. Run in the
# kernel's tree. Only the headers that it names are looked at: others depend on the configuration.
grep -q PROC_PID_INIT_INO kernel/pid.c || exit 0
headers=$(sed -n 's|^#include <\(linux/.*\)>.*|include/\1|p' kernel/pid.c)
# shellcheck disable=SC2086 # They are words.
grep -qsE 'PROC_PID_INIT_INO[[:space:]]*=|#include <linux/proc_fs.h>' $headers kernel/pid.c
