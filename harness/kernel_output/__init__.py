# SPDX-License-Identifier: MIT
"""Parsers for what the guest's kernel and programs print."""
