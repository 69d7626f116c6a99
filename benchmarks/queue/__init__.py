"""What a job costs beside its work, and how many a second pass: ours against bare Celery."""
