"""What a run leaves behind for people: results.json, tables, pictures and scores per clip."""
