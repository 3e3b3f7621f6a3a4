"""What the scripts datasets/*.py use to make, convert, check and resize data sets. Training never imports it."""
