"""Simulated fleets: many devices in a few processes, for `holterd-sim`.

Each device is a Core as in holterd, with a port or socket of its own. What is not in processes of
its own there is here: its sampler is a task, its log and its models are in memory, and classifier
processes are shared by the devices that have the same model.
"""
