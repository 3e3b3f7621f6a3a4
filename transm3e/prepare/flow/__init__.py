"""Optical flow of the clips of a table: estimated (DIS, RAFT) and written."""
