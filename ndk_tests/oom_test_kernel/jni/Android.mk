# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := oom_test_kernel
LOCAL_SRC_FILES := oom_test_kernel.c \
	../../common/args.c \
	../../common/hog.c \
	../../common/hog_child.c \
	../../common/hog_args.c \
	../../common/hog_main.c \
	../../common/output.c \
	../../common/set_limit.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
