"""Prints the figures that `make faults` collected as a table: `print_figures.py build/faults.jsonl`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
for row in sorted(rows, key=lambda row: (row["fault"], row["test"])):
    lost = row["tried"] - row["survived"]
    print(f"{row['fault']:32} {row['test']:70} {row['tried']:7,} tried, {lost:,} lost, {row['seconds']:8.1f} s")
print(f"{sum(row['tried'] for row in rows):,} faults, {sum(row['tried'] - row['survived'] for row in rows):,} lost")
