"""The command line: one subcommand for each stage, in the order the data flows."""
