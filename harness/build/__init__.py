# SPDX-License-Identifier: MIT
"""From a kernel's source to files that boot."""
