"""A private PostgreSQL beside the index: started on demand, shared, stopped.

The only door to this package is acquire().  cluster.py holds the protocol; its
neighbours each know one thing: locks, folder (files), fds (names of directories),
filesystem, identity (which user), programs and extension (where they are), plan (which
of them go together), settings, server (making and starting), probe, process.
It knows nothing of vectors, tables or markers.

SPDX-License-Identifier: Apache-2.0 OR MIT
"""

from .cluster import Cluster, acquire
from .status import Status, status, stop

__all__ = ["Cluster", "Status", "acquire", "status", "stop"]
