"""Configs: PySlowFast's keys in safe YAML with `_BASE_` inheritance, checked and frozen before anything is built."""

from transm3e.config import keys_data, keys_models, keys_run
from transm3e.config.load import load_cfg
from transm3e.config.schema import close, get_cfg

close()

__all__ = ["get_cfg", "keys_data", "keys_models", "keys_run", "load_cfg"]
