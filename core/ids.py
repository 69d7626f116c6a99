"""Ids: a readable prefix, then time, then chance. Sorting by id is sorting by age."""

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """`job_` + 9 characters of milliseconds + 13 random ones (65 bits)."""
    moment = time.time_ns() // 1_000_000
    clock = "".join(ALPHABET[moment >> shift & 31] for shift in range(40, -1, -5))
    chance = "".join(secrets.choice(ALPHABET) for _ in range(13))
    return f"{prefix}_{clock}{chance}"
