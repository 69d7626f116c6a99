"""Loading, training, generating, merging. Set here, before any library: no hub is ever asked."""

import logging
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("USE_HUB_KERNELS", "NO")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that wait for each other must not spin: where another process has a core, a step took
# eight times as long. Read by libgomp when torch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# bitsandbytes has one line for every linear layer and call: thousands a second. And at import it
# looks for a kernel on a hub, and says that it found none.
for _name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(_name).setLevel(logging.ERROR)
