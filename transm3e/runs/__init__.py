"""Runs: plan and id, folder, lock and record, results, starting weights."""
