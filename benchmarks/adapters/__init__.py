"""One batch over many adapters: against one over a single adapter, and against PEFT."""
