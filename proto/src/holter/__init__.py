"""The contract between Holter devices and hosts: the wire and the model file."""
