# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := who_pays
LOCAL_SRC_FILES := who_pays.c cases.c stage.c \
	../../common/args.c ../../common/output.c ../../common/thread.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
