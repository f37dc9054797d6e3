"""Fleets past one machine: the same work on the devices, done by the workers of a Dask cluster.

    fleet = ClusterFleet.load("fleet.toml", scheduler="tcp://10.0.0.1:8786")
    async for outcome in fleet.status(): ...
    await fleet.deploy("rhythm.tflite", waves="10%,100%").run()

Needs the extra `cluster`, here and where the scheduler and the workers run.

    client: pool  <-- exchange of letters -->  worker: shard
            the journal, and who is next               connections to its devices

A device is given to one worker at a time. What a worker wants to do with it, it asks the client
first; what came of it, it tells. Where a worker is lost, its devices are given to others, which
begin with them from the start: by looking at what the device has.
"""

from __future__ import annotations

from holter_host.cluster.connection import check_cluster
from holter_host.cluster.errors import ClusterError
from holter_host.cluster.fleet import ClusterFleet
from holter_host.cluster.hands import ClusterHands, cluster_hands

__all__ = ["ClusterError", "ClusterFleet", "ClusterHands", "check_cluster", "cluster_hands"]
