"""Training. Takes a configuration and manifests; returns trained parameters, checkpoints and training curves.

`trainer` owns epochs, schedule and records; `shards` computes losses and gradients; `processes` distributes this work
over all cores.
"""
