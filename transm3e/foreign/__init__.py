"""Readers of formats as strangers write them: bounded in size, depth and time, and nothing in a file is run.

What a file claims is compared with what it holds before memory is taken for it. Pickles of data are read by
transm3e.unpickle.
"""
