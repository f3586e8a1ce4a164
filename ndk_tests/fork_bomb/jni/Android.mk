# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := fork_bomb
LOCAL_SRC_FILES := fork_bomb.c ../../common/args.c ../../common/limited.c ../../common/output.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
