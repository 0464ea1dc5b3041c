"""`diffst dataset`: videos and pictures into clips that a model of Wan's size learns from."""
