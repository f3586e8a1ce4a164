# SPDX-License-Identifier: MIT
"""What all else stands on."""
