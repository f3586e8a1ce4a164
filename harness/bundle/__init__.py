# SPDX-License-Identifier: MIT
"""A run in one file, from which it can be repeated elsewhere."""
