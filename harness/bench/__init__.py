# SPDX-License-Identifier: MIT
"""The benchmark: measure, compare, publish."""
