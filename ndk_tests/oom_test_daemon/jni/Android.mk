# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := oom_test_daemon
LOCAL_SRC_FILES := oom_test_daemon.c
include $(LOCAL_PATH)/../../common/hog.mk
include $(BUILD_EXECUTABLE)
