# SPDX-License-Identifier: MIT
"""The report page."""
