/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_SPINLOCK_H
#define _LINUX_SPINLOCK_H

typedef struct { int lock; } spinlock_t;
#define DEFINE_SPINLOCK(name) spinlock_t name = { 0 }
extern void take_spinlock(spinlock_t *lock, unsigned long *flags);
#define spin_lock_irqsave(lock, flags) take_spinlock(lock, &(flags))
extern void spin_lock_init(spinlock_t *lock);
extern void spin_lock(spinlock_t *lock);
extern void spin_unlock(spinlock_t *lock);
extern void spin_lock_irq(spinlock_t *lock);
extern void spin_unlock_irq(spinlock_t *lock);
extern void spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

#endif
