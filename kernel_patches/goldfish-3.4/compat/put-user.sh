#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Status 0: the compiler does not put put_user()'s operands elsewhere than the assembler expects
# them. Run in the kernel's tree.
command -v "${CROSS_COMPILE}gcc" || exit 1
{
	cat <<'END'
#define __KERNEL__ 1
#define CONFIG_MMU 1
#define __user
#define TASK_SIZE 0x80000000UL
#define might_fault()
#define uaccess_save_and_enable() 0
#define uaccess_restore(flags) ((void)(flags))
#define __chk_user_ptr(x) ((void)0)
#define __asmeq(x, y) ".ifnc " x "," y " ; .err ; .endif\n\t"
struct thread_info { unsigned long addr_limit; };
extern struct thread_info *current_thread_info(void);
extern int __put_user_bad(void);
END
	# The header's macros, under the conditions that they are under.
	awk '/^#[ \t]*(if|else|elif|endif)/ { print; next }
		/^#[ \t]*(define|undef)/ { macro = 1 }
		macro { print; macro = /\\$/ }' arch/arm/include/asm/uaccess.h
	cat <<'END'
#define TRY(type, name) \
	int zero_##name(type *p) { return put_user(0, p); } \
	int sum_##name(type *p, int a) { return put_user(a + 1, p + a); }
TRY(unsigned char, 1)
TRY(unsigned short, 2)
TRY(unsigned int, 4)
TRY(unsigned long long, 8)
END
} >"$SCRATCH/put_user.c"
for level in -O2 -Os; do
	# Another mistake would say nothing of this one.
	! "${CROSS_COMPILE}gcc" -std=gnu89 -march=armv7-a -msoft-float -fno-pic "$level" -w -c \
		-o "$SCRATCH/put_user.o" "$SCRATCH/put_user.c" 2>&1 |
		grep '\.err' || exit 1
done
