/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _LINUX_USER_NAMESPACE_H
#define _LINUX_USER_NAMESPACE_H

struct user_namespace { int kref; };
extern struct user_namespace init_user_ns;

#endif
