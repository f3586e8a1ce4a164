# SPDX-License-Identifier: MIT
"""Helpers that all other packages of the harness build on."""
