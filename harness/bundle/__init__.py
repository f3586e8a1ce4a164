# SPDX-License-Identifier: MIT
"""A kernel and what is booted with it in one file, and a run that can be repeated elsewhere."""
