"""Runs of a table, and shards of datasets/*.py, as jobs of submitit: on this host or on a SLURM cluster."""
