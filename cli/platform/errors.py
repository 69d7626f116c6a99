"""Why a platform can't start. Knows nothing of how that is shown."""


class Refused(Exception):
    """Something that the user must change first: one line on stderr, exit code 2."""


class StartFailed(Exception):
    """A part did not come up although nothing was wrong with the request: exit code 1."""
