"""Runs of a table as jobs: on this host or on a SLURM cluster, by submitit."""
