"""One measurement of `freelm bench precision`, in a process of its own."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from freelm.api import FreeLM
from freelm.bench.machine import clock, peak_mb
from freelm.judge.requests import Request
from freelm.tasks import Task, load_rows

CALL = 128
"""Rows judged in one call."""


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Margins of every claim of every row, speed and peak memory."""
    task = Task.from_file(spec["task"])
    root = None if spec["data_root"] is None else Path(spec["data_root"])
    rows = load_rows(task, task.report_split, root)
    examples = islice(rows.examples(task.training_phrasings[0]), spec["limit"])
    requests = [Request(example.context, example.claims) for example in examples]
    model = FreeLM.from_pretrained(spec["model"], dtype=spec["dtype"], device=spec["device"])
    model.judge_requests(requests[:1])
    begin = clock(spec["device"])
    judged = [
        answer
        for start in range(0, len(requests), CALL)
        for answer in model.judge_requests(requests[start : start + CALL])
    ]
    seconds = clock(spec["device"]) - begin
    return {
        "margins": [answer.margins.tolist() for answer in judged],
        "texts_per_s": len(requests) / seconds,
        "peak_mb": peak_mb(spec["device"]),
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
