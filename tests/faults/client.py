"""A client process: does what it is told by standard input, one order in JSON a line, and answers each.

It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from tests.faults.history import Recorder
from tests.faults.planted import planted
from tests.faults.register import Register
from tests.faults.subjects import SUBJECTS
from tests.faults.worker import Worker

_PR_SET_PDEATHSIG = 1


async def main(options: dict[str, Any]) -> None:
    directory = Path(options["directory"])
    subject = SUBJECTS[options["subject"]](options["url"], options["ttl_s"], options["timeout_s"])
    recorder = Recorder(directory / f"{options['name']}.jsonl")
    worker = Worker(options["name"], subject, recorder, Register(directory / "register.db"))
    orders = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        name, args, kwargs = json.loads(line)
        result = await getattr(worker, name)(*args, **kwargs)
        print(json.dumps(asdict(result) if is_dataclass(result) else result), flush=True)  # type: ignore[arg-type]
    await subject.aclose()


if __name__ == "__main__":
    if sys.platform == "linux":
        # One that is stopped does not see its standard input end.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    settings = json.loads(sys.argv[1])
    with ExitStack() as stack:
        if settings["bug"]:
            stack.enter_context(planted(settings["bug"]))
        asyncio.run(main(settings))
