"""Training, evaluation, checkpoints and processes of a run."""
