# SPDX-License-Identifier: MIT
"""What runs on the device, the expected result, and the verdict."""
