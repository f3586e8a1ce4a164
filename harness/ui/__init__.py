# SPDX-License-Identifier: MIT
"""What a run tells while it goes."""
