"""What several ranks agree on; run under torchrun, with a timeout of five seconds. Rank 0 writes its findings as JSON.

torchrun --nproc-per-node 2 rank_checks.py RESULT.json
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch

from flowzoo.distributed import start
from flowzoo.errors import InputError


def main(result: Path) -> None:
    found: dict[str, object] = {}
    if os.environ["RANK"] == "1":
        time.sleep(6)
    with start(timeout=timedelta(seconds=5)) as ranks:

        def slow() -> dict[str, float]:
            time.sleep(6)
            return {"rank": float(ranks.rank)}

        found["leader"] = ranks.gather(ranks.from_leader(slow))
        if not ranks.leads:
            time.sleep(6)
        found["gathered"] = ranks.gather(ranks.rank)
        found["mean"] = ranks.mean(torch.tensor([1.0 + ranks.rank])).tolist()
        problems = []
        for who in ((1,), (0, 1), ()):
            try:
                with ranks.agreement():
                    if ranks.rank in who:
                        raise InputError(f"rank {ranks.rank} has a problem")
                problems.append("fine")
            except (InputError, SystemExit) as stop:
                problems.append(f"{type(stop).__name__}: {stop}")
        found["problems"] = ranks.gather(problems)
        if ranks.leads:
            result.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
