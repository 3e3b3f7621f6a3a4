"""Reports of runs: results.json, tables, figures and scores per clip."""
