"""The product's runner, which knows the type `noop` besides."""

import sys

from benchmarks.queue import noop
from workers.runner import main

if __name__ == "__main__":
    noop.install()
    main(sys.argv)
