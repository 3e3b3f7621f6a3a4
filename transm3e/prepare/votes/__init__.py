"""Annotation by majority vote: the muscles of an activity are those that enough sources name."""
