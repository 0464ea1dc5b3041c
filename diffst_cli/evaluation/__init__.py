"""`diffst evaluate`: upscalers against reference clips, and how that is measured."""
