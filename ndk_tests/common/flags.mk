# SPDX-License-Identifier: GPL-2.0-only
# What all programs share. An Android.mk includes this between CLEAR_VARS and
# BUILD_EXECUTABLE, with LOCAL_PATH set.

# MM_LIMITS_INCLUDE (of the environment or the command line) is the folder with
# mm_limits_syscalls.h: the syscall numbers differ from kernel to kernel.
ifeq ($(strip $(MM_LIMITS_INCLUDE)),)
$(error MM_LIMITS_INCLUDE must name the folder that holds mm_limits_syscalls.h)
endif

LOCAL_C_INCLUDES := $(LOCAL_PATH)/../../common $(MM_LIMITS_INCLUDE)
# NDK r11's GCC takes C89 for granted.
LOCAL_CFLAGS := -std=gnu99 -D_GNU_SOURCE -O2 -Wall -Wextra -Wshadow -Wformat=2

# ndk-build looks for -static and knows no LOCAL_FORCE_STATIC_EXECUTABLE; the
# build system of AOSP's platform knows nothing else. Only a dynamic program has
# to be position independent on Android (it is the dynamic linker that insists),
# and -pie beside -static makes GCC link a file that cannot start.
LOCAL_FORCE_STATIC_EXECUTABLE := true
LOCAL_LDFLAGS := -static
