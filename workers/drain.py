"""The wish of a worker that was told to go: set in its main process, seen by its pool's child."""

import multiprocessing

# Made before the pool forks, so that parent and children share it.
DRAIN = multiprocessing.get_context("fork").Event()
