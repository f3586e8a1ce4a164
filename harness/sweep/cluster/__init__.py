# SPDX-License-Identifier: MIT
"""The machines that run a sweep, by dask.distributed: the only package that knows of it.

Dask finds the workers, says what they have announced, carries orders and results, and notices when
a worker, the scheduler or a sweep goes away. An order is given to a worker that is free, and to no
other: so dask never repeats one by itself when a worker was lost, and never queues one behind a
build that cannot begin yet (a worker takes orders with resources strictly in their order). Of other
sweeps at the same scheduler it is only known how many orders a worker had a moment ago, so one may
wait there behind one of theirs.

A scheduler need not know this harness, and a worker's version of it must be the sweep's: so what
is sent are functions without references to it, and texts.
"""
