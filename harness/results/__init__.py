# SPDX-License-Identifier: MIT
"""What a run leaves: one folder, in the forms that other tools read."""
