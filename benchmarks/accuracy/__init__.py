"""Execution accuracy on GeoQuery: ours, TRL at equal epochs, the base; one judge for all."""
