"""From what was found to what a physician reads: SR, page and capture. Pure functions."""
