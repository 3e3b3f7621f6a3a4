"""Readers of untrusted files: bounded in size, depth and time; no code from a file is run.

The sizes that a file states are checked against its content before memory is allocated. Pickles of data are read by
transm3e.unpickle.
"""
