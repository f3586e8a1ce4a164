# SPDX-License-Identifier: MIT
"""What a run shows while it goes on: events, and the views of them."""
