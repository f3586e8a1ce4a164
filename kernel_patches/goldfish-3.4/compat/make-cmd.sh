#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: make reads a command with a number sign as it was written. Run in the kernel's tree.
make -s -f - all <<'END'
number_sign := \#
cmd_x = gcc -D"KBUILD_STR(s)=$(number_sign)s" x.c
include scripts/Kbuild.include
$(eval read_again := $(call make-cmd,x))
ifneq ($(read_again),$(cmd_x))
$(error $(read_again))
endif
all: ;
END
