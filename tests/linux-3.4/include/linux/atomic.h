/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_ATOMIC_H
#define _LINUX_ATOMIC_H

#include <linux/types.h>
typedef struct { int counter; } atomic_long_t;
#define ATOMIC_INIT(i) { (i) }
#define ATOMIC_LONG_INIT(i) { (i) }
extern void atomic_set(atomic_t *v, int i);
extern void atomic_inc(atomic_t *v);
extern int atomic_dec_and_test(atomic_t *v);
extern int atomic_inc_return(atomic_t *v);
extern int atomic_add_unless(atomic_t *v, int a, int u);
extern int atomic_inc_not_zero(atomic_t *v);
extern int atomic_read(const atomic_t *v);
extern long atomic_long_read(atomic_long_t *v);
extern void atomic_long_add(long i, atomic_long_t *v);
extern void atomic_long_sub(long i, atomic_long_t *v);
extern void atomic_long_dec(atomic_long_t *v);
extern void atomic_long_inc(atomic_long_t *v);
extern long atomic_long_add_return(long i, atomic_long_t *v);
extern long atomic_long_inc_return(atomic_long_t *v);
/* Of asm/cmpxchg.h, which asm/atomic.h takes in. */
#define cmpxchg(ptr, o, n) ((typeof(*(ptr)))__cmpxchg((ptr), (unsigned long)(o), \
						      (unsigned long)(n), sizeof(*(ptr))))
extern unsigned long __cmpxchg(void *ptr, unsigned long o, unsigned long n, int size);

#endif
