# SPDX-License-Identifier: MIT
"""A run in one file, to be repeated elsewhere."""
