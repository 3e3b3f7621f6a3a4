"""What a run is: its plan and identity, its folder, lock and record, its results, what it starts from."""
