# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := attack
LOCAL_SRC_FILES := attack.c ways.c ../../who_pays/jni/stage.c \
	../../common/args.c ../../common/limited.c ../../common/output.c ../../common/thread.c
include $(LOCAL_PATH)/../../common/flags.mk
LOCAL_C_INCLUDES += $(LOCAL_PATH)/../../who_pays/jni
LOCAL_CFLAGS += -pthread
LOCAL_LDFLAGS += -pthread
include $(BUILD_EXECUTABLE)
