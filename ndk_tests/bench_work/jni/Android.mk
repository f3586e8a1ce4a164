# SPDX-License-Identifier: GPL-2.0-only
LOCAL_PATH := $(call my-dir)

include $(CLEAR_VARS)
LOCAL_MODULE := bench_work
LOCAL_SRC_FILES := bench_work.c speed.c kills.c others.c watch.c \
	../../common/args.c ../../common/output.c
include $(LOCAL_PATH)/../../common/flags.mk
LOCAL_CFLAGS += -pthread
LOCAL_LDFLAGS += -pthread
include $(BUILD_EXECUTABLE)
