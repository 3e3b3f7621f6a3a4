"""transm3e: activated muscle group estimation (AMGE) from video."""

__version__ = "0.1.0"
