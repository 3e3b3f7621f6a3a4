"""Skeletons of the clips of a table: from a detector or its output."""
