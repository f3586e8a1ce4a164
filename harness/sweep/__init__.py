# SPDX-License-Identifier: MIT
"""Many runs on many machines: the matrix of cells, the cluster that runs them, what came of it."""
