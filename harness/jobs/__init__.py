# SPDX-License-Identifier: MIT
"""What the tasks of `tasks.py` do."""
