# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := mm_limits_fuzz
LOCAL_SRC_FILES := mm_limits_fuzz.c actor.c driver.c ../../common/args.c ../../common/output.c
include $(LOCAL_PATH)/../../common/flags.mk
include $(BUILD_EXECUTABLE)
