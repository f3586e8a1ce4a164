# SPDX-License-Identifier: GPL-2.0-only
APP_ABI := armeabi-v7a
# The oldest that current NDKs know, and new enough for all that is used here.
APP_PLATFORM := android-21
