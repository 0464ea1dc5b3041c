"""The `diffst` command-line tool: everything that touches a terminal or a file."""
