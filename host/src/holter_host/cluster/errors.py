"""Errors of clusters.

HolterError
  ClusterError    the cluster cannot be used, or is there no more
"""

from __future__ import annotations

from holter_host.errors import HolterError


class ClusterError(HolterError):
    """Error raised when a cluster cannot be reached or used, or has no worker left."""
