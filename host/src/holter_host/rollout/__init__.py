"""Rollouts: one model to many devices, in waves, with a journal that survives everything.

`plan` says how, `states` what is known of a device and what follows, `journal` keeps it on disk,
`steps` and `hands` do it, `engine` decides, and `api` is what scripts and the command use.
"""
