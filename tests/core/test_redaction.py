"""No secret is left in a text, whatever stands around it, and what is none stays."""

import time

import pytest

from core.redaction import MOST_CHARACTERS, redact
from core.security import new_key
from core.webhooks.sending import new_secret

PASSWORD = "hunter2-Zürich"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://reader:{PASSWORD}@db.example:5432/shop?sslmode=require",
        f"redis://:{PASSWORD}@localhost:6379/0",
        f"amqp://guest:{PASSWORD}@with@signs@host//",
        f"host=db user=reader password={PASSWORD} dbname=shop",
        f"host=db password='{PASSWORD} and more' dbname=shop",
        f"{{'password': '{PASSWORD}', 'user': 'reader'}}",
        f'{{"signing_secret": "{PASSWORD}"}}',
        f"AWS_SECRET_ACCESS_KEY={PASSWORD}",
        f"authorization: Basic {PASSWORD}",
    ],
)
def test_a_password_is_taken_out(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert "***" in redact(text)


def test_a_key_is_told_by_its_prefix_and_a_signing_secret_not_at_all() -> None:
    key, secret = new_key(), new_secret()
    text = redact(
        f"GET /v1/jobs?after={key.secret} 钥匙={key.secret}, {secret} (Bearer abcdefghij)"
    )
    assert key.secret not in text and secret not in text and "abcdefghij" not in text
    assert text.count(f"{key.prefix}***") == 2


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/models/sales-sql:3 200 0.004 s",
        "Uvicorn running on http://127.0.0.1:8400 (Press CTRL+C to quit)",
        "3 tokens of a secretary's passwordless party",
        "wrote to someone@example.com at 10:11:12",
        "SELECT * FROM 员工 WHERE token = 3",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("piece", ["a-", "a://x:", "password", "secret-", "Bearer ", "ty-", "@"])
def test_no_text_takes_long(piece: str) -> None:
    begun = time.process_time()
    redact(piece * (MOST_CHARACTERS // len(piece)))
    assert time.process_time() - begun < 2


def test_of_a_long_text_every_line_is_looked_at() -> None:
    secret = new_key().secret
    text = ("x" * 99 + "\n") * 2000 + secret + "\nthe end"
    assert secret not in redact(text)
    assert redact(text).endswith("the end")
