"""Every table, imported: a foreign key can only be followed to a table that is known."""

import core.accounts.models
import core.adapters.models
import core.artifacts.models
import core.basemodels.models
import core.databases.models
import core.datasets.models
import core.files.models
import core.fleet.models
import core.idempotency.models
import core.jobs.models
import core.uploads.models
import core.webhooks.models  # noqa: F401
