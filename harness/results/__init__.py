# SPDX-License-Identifier: MIT
"""The results of a run: one folder, in the formats that other tools read."""
