# SPDX-License-Identifier: MIT
"""What a guest's kernel and programs print, parsed."""
