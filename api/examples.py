"""Bodies of requests as the document shows them, by operation; each fits its schema (a test)."""

from typing import Any

QUESTION = {"role": "user", "content": "Which stores sold most in May?"}

REQUESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/v1/jobs"): {
        "prepare": {"type": "prepare", "params": {"name": "sales-pairs", "file": "file_1"}},
        "train": {
            "type": "train",
            "params": {"model": "smollm2-135m", "dataset": "sales-pairs", "epochs": 3},
            "priority": 10,
        },
        "evaluate": {
            "type": "evaluate",
            "params": {"model": "sales-sql:3", "dataset": "sales-pairs", "split": "test"},
        },
        "merge": {"type": "merge", "params": {"adapter": "sales-sql:3"}},
        "generate": {
            "type": "generate",
            "params": {
                "model": "sales-sql:3",
                "database": "sales",
                "questions": ["Which stores sold most in May?", "五月哪些门店卖得最多？"],
            },
        },
    },
    ("post", "/v1/fine_tuning/jobs"): {
        "supervised": {
            "model": "smollm2-135m",
            "training_file": "file_1",
            "suffix": "sales-sql",
            "method": {
                "type": "supervised",
                "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": "auto"}},
            },
        }
    },
    ("post", "/v1/batches"): {
        "chat": {
            "input_file_id": "file_1",
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
    },
    ("post", "/v1/chat/completions"): {"chat": {"model": "sales-sql:3", "messages": [QUESTION]}},
    ("post", "/v1/sql"): {
        "question": {
            "model": "sales-sql:3",
            "database": "sales",
            "question": "Which stores sold most in May?",
        }
    },
    ("post", "/v1/evaluations"): {
        "test split": {"model": "sales-sql:3", "dataset": "sales-pairs", "split": "test"}
    },
    ("post", "/v1/merges"): {"merge": {"adapter": "sales-sql:3"}},
    ("post", "/v1/uploads"): {
        "upload": {
            "filename": "pairs.jsonl",
            "purpose": "fine-tune",
            "bytes": 200_000_000,
            "mime_type": "application/jsonl",
        }
    },
    ("post", "/v1/keys"): {"for a pipeline": {"name": "ci", "scopes": ["write"]}},
    ("post", "/v1/projects"): {
        "with quotas": {"name": "team-a", "quotas": {"running_jobs": 2, "queued_jobs": 100}}
    },
    ("post", "/v1/webhook_endpoints"): {
        "ends of trainings": {
            "name": "ci",
            "url": "https://ci.example.com/tuneyard",
            "event_types": ["fine_tuning.job.succeeded", "fine_tuning.job.failed"],
        }
    },
    ("post", "/v1/databases/{database_id}/query"): {
        "count": {"sql": "SELECT count(*) FROM orders"}
    },
}
