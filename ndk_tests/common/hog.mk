# SPDX-License-Identifier: GPL-2.0-only
# In place of flags.mk, for the programs that have children.
LOCAL_SRC_FILES += \
	../../common/args.c \
	../../common/hog.c \
	../../common/hog_args.c \
	../../common/hog_child.c \
	../../common/hog_main.c \
	../../common/output.c \
	../../common/set_limit.c \
	../../common/thread.c

include $(LOCAL_PATH)/../../common/flags.mk
