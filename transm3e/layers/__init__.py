"""Layers of our own models: multi-scale attention, relative positions, token fusion."""
