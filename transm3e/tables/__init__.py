"""Tables of experiments: rows in YAML -> the runs they need -> figures beside the paper's."""
