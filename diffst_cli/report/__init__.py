"""The page of `diffst compare`: what videos look like side by side, and where they differ."""
