"""Loading, training, generating, merging. Set here, before any library: no hub is ever asked."""

import logging
import os

from workers.openmp import OPENMP

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("USE_HUB_KERNELS", "NO")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for _name, _value in OPENMP.items():
    os.environ.setdefault(_name, _value)

# bitsandbytes has one line for every linear layer and call: thousands a second. And at import it
# looks for a kernel on a hub, and says that it found none.
for _name in ("bitsandbytes.autograd._functions", "bitsandbytes.backends.cpu.ops"):
    logging.getLogger(_name).setLevel(logging.ERROR)
