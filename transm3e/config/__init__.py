"""Configs: PySlowFast's keys in safe YAML with `_BASE_` inheritance, checked and frozen before anything is built."""

from transm3e.config.defaults import get_cfg
from transm3e.config.load import load_cfg

__all__ = ["get_cfg", "load_cfg"]
