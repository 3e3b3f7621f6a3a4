"""The workshop behind datasets/*.py: makes, converts, checks and resizes data sets. Training never imports it."""
