#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: perl understands the script, or there is none. Run in the kernel's tree.
test ! -e kernel/timeconst.pl || perl -c kernel/timeconst.pl
