# SPDX-License-Identifier: MIT
"""What is run on the device, what must come of it, and the verdict."""
