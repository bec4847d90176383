"""Groups of subcommands, and what all commands share; `cli` puts them together."""
