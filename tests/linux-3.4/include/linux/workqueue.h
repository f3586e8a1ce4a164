/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_WORKQUEUE_H
#define _LINUX_WORKQUEUE_H

#include <linux/kernel.h>
#include <linux/types.h>
struct work_struct;
typedef void (*work_func_t)(struct work_struct *work);
struct work_struct { work_func_t func; };
struct delayed_work { struct work_struct work; };
static inline struct delayed_work *to_delayed_work(struct work_struct *work)
{
	return container_of(work, struct delayed_work, work);
}
#define DECLARE_WORK(n, f) struct work_struct n = { (f) }
#define INIT_DELAYED_WORK(_work, _func) do { (_work)->work.func = (_func); } while (0)
#define INIT_WORK(_work, _func) do { (_work)->func = (_func); } while (0)
struct workqueue_struct;
#define WQ_MEM_RECLAIM (1 << 3)
#define WQ_HIGHPRI (1 << 4)
#define WQ_CPU_INTENSIVE (1 << 5)
/* A macro with a format in 3.4. */
extern struct workqueue_struct *alloc_workqueue(const char *name, unsigned int flags, int most);
extern int schedule_work(struct work_struct *work);
extern int queue_work(struct workqueue_struct *wq, struct work_struct *work);
extern int queue_delayed_work(struct workqueue_struct *wq, struct delayed_work *work,
			      unsigned long delay);
extern bool cancel_delayed_work(struct delayed_work *work);

#endif
