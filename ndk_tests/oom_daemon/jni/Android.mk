# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := oom_daemon
LOCAL_SRC_FILES := oom_daemon.c ../../common/args.c ../../common/output.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
