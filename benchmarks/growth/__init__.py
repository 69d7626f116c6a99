"""How time and memory grow: with the prefix, the group, the rows at a time, the adapters."""
