"""The log of a run, a CSV file that survives kills and resumes."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from netsuke import atomic

COLUMNS = ("step", "epoch", "loss", "learning_rate", "train_accuracy")  # the score of held-out images follows
LAST_COLUMNS = ("images_per_second", "seconds", "resumed")


class Log:
    """One row an epoch, and one, marked `resumed`, wherever the run was taken up again.

    step: optimizer steps done. epoch: epochs begun, the one of the row included. loss, train_accuracy: means over the
    epoch's batches as they were trained on. validation_SCORE: of the held-out images, empty where there are none;
    SCORE is "accuracy" or "map" (mean average precision). Both are per cent. seconds: of training up to the row, over
    all resumes, without what a kill has lost.
    """

    def __init__(self, path: Path, score: str = "accuracy") -> None:
        self.path = path
        self.columns = (*COLUMNS, f"validation_{score}", *LAST_COLUMNS)

    def begin(self, step: int, epoch: int) -> None:
        """Start the file, or go on at `step`, in `epoch`: rows behind it are dropped, for they are trained again."""
        kept = [row for row in self._rows() if int(row["step"]) <= step] if step else []
        if step:
            kept.append({"step": str(step), "epoch": str(epoch), "resumed": "1"})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        atomic.write(self.path, text.getvalue().encode())

    def add(self, row: dict[str, Any]) -> None:
        """Append a row; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())

    def _rows(self) -> list[dict[str, str]]:
        """The whole rows of the file; a last one that a kill has cut off is passed over."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text("utf-8", errors="replace").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        return [row for row in csv.DictReader(whole) if None not in row.values() and row["step"].isdecimal()]
