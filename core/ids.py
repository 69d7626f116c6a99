"""Ids: a readable prefix, then time, then chance. Sorting by id is sorting by age."""

import secrets
import time

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """`job_` + 11 characters of microseconds + 12 random ones (60 bits).

    Microseconds, so that what one process makes in a row sorts in that order.
    """
    moment = time.time_ns() // 1_000
    clock = "".join(ALPHABET[moment >> shift & 31] for shift in range(50, -1, -5))
    chance = "".join(secrets.choice(ALPHABET) for _ in range(12))
    return f"{prefix}_{clock}{chance}"
