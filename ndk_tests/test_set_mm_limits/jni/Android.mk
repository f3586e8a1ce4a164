# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := test_set_mm_limits
LOCAL_SRC_FILES := test_set_mm_limits.c \
	../../common/args.c \
	../../common/output.c \
	../../common/set_limit.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
