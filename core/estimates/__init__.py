"""What a training would cost: tokens, steps, memory, time. Computes; changes nothing."""
