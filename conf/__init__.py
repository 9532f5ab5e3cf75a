"""Values: one root YAML per command, groups composed on the command line."""
