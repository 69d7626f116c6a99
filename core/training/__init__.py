"""What a training is by its numbers: settings, prompts, tokens, sizes. Needs no torch, so that an
estimate and the training itself go by the same formulas. Knows no job, no database, no device."""
