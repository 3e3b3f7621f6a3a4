"""A page that scores videos dropped on it: python -m transm3e.web."""
