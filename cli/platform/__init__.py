"""The parts of one machine's platform and how they are kept running. Knows no setting by name."""
