# SPDX-License-Identifier: GPL-2.0-only
APP_ABI := armeabi-v7a
# For NDKs before r17. With later ones it has to be the newest that they know, or a
# static program may abort at its start: ndk-build APP_PLATFORM=latest, which counts
# before this line. ./inv says so itself.
APP_PLATFORM := android-21
