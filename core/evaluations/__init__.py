"""What an evaluation says of a model: shares, intervals, breakdowns."""
