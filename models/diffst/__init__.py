"""diffst: one-step diffusion space-time video super-resolution, as a library.

`DiffSTPipeline` takes one clip and gives one clip; `load_model` gives what the command line uses.
"""
