# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := watch_memory
LOCAL_SRC_FILES := watch_memory.c ../../common/args.c ../../common/output.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
