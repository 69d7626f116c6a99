"""Do the figures of a shortened demo say that fine-tuning worked? Exit code 1 if they don't.

python .ci/check_demo.py demo-report.json
"""

import json
import sys
from pathlib import Path

LEAST_GAIN = 0.20
"""Tuned minus base execution accuracy that 200 pairs must bring."""


def main(path: str) -> int:
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    base, tuned = report["base_accuracy"], report["tuned_accuracy"]
    print(f"demo: base {base:.1%}, tuned {tuned:.1%}, {report['total_seconds']:.0f} s")
    if tuned - base < LEAST_GAIN:
        print(f"the fine-tune gained {tuned - base:.1%}; at least {LEAST_GAIN:.0%} is expected")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
