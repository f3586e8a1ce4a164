# SPDX-License-Identifier: MIT
"""The kernels that are built, booted and judged: one data file for each."""
