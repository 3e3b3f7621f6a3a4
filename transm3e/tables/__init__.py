"""Tables of experiments: rows in YAML -> the runs they need -> scores beside the paper's."""
