"""One module per subcommand: parse, build a job, call, report."""
