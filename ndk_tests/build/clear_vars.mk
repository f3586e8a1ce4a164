# SPDX-License-Identifier: GPL-2.0-only
# CLEAR_VARS: nothing of the last module is left for the next one.
LOCAL_MODULE :=
LOCAL_SRC_FILES :=
LOCAL_C_INCLUDES :=
LOCAL_CFLAGS :=
LOCAL_LDFLAGS :=
LOCAL_FORCE_STATIC_EXECUTABLE :=
