"""Processes of one run, on one host or many: launch, collectives, sharding, signals, and detection of lost processes."""
