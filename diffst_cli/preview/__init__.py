"""What `diffst preview` makes: a few telling moments of a video, before and after, side by side."""
