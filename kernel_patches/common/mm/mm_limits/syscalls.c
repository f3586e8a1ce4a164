// SPDX-License-Identifier: GPL-2.0-only
/*
 * The entries of set_mm_limits() and my_oom_killer() in the syscall table.
 *
 * What they do is in modules. A module takes itself out under the semaphore
 * that every call holds for reading, so that no call is left in it when it
 * goes, and calls from then on find nobody.
 */
#include <linux/errno.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/rwsem.h>
#include <linux/syscalls.h>

#include "internal.h"

static DECLARE_RWSEM(mm_limits_providers_lock);
static const struct mm_limits_provider *mm_limits_setter;
static const struct mm_limits_provider *mm_limits_killer;

/**
 * mm_limits_register_provider - supply the body of one syscall or of both
 * @provider:	stays in use until it is unregistered
 *
 * Context: process context, may sleep.
 * Return: 0, or -EBUSY if somebody else supplies one of them already.
 */
int mm_limits_register_provider(const struct mm_limits_provider *provider)
{
	int ret = 0;

	down_write(&mm_limits_providers_lock);
	if ((provider->set_mm_limits && mm_limits_setter) ||
	    (provider->my_oom_killer && mm_limits_killer)) {
		ret = -EBUSY;
	} else {
		if (provider->set_mm_limits)
			mm_limits_setter = provider;
		if (provider->my_oom_killer)
			mm_limits_killer = provider;
	}
	up_write(&mm_limits_providers_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(mm_limits_register_provider);

/**
 * mm_limits_unregister_provider - take syscalls away again
 * @provider:	registered before; no call is in it any more on return
 *
 * Context: process context, may sleep; not from within such a call.
 */
void mm_limits_unregister_provider(const struct mm_limits_provider *provider)
{
	down_write(&mm_limits_providers_lock);
	if (mm_limits_setter == provider)
		mm_limits_setter = NULL;
	if (mm_limits_killer == provider)
		mm_limits_killer = NULL;
	up_write(&mm_limits_providers_lock);
}
EXPORT_SYMBOL_GPL(mm_limits_unregister_provider);

SYSCALL_DEFINE2(set_mm_limits, uid_t, uid, unsigned long, mm_max)
{
	long ret;

	down_read(&mm_limits_providers_lock);
	ret = mm_limits_setter ? mm_limits_setter->set_mm_limits(uid, mm_max) : sys_ni_syscall();
	up_read(&mm_limits_providers_lock);
	return ret;
}

SYSCALL_DEFINE0(my_oom_killer)
{
	long ret;

	down_read(&mm_limits_providers_lock);
	ret = mm_limits_killer ? mm_limits_killer->my_oom_killer() : sys_ni_syscall();
	up_read(&mm_limits_providers_lock);
	return ret;
}
