# SPDX-License-Identifier: MIT
"""Patch, build, boot and judge Android kernels with per-user memory limits."""
