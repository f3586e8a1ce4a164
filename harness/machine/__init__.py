# SPDX-License-Identifier: MIT
"""The machine that runs a kernel, and the device that adb sees in it."""
