"""``python -m tests.fuzz --minutes 10``: cases of random bytes; ``--guided``: of what executes something new.

Exits with 1 if an invariant does not hold, and prints the case, which ``--case HEX`` runs again. ``--guided`` needs
atheris, which is not among the dependencies: ``pip install atheris``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

#: The more bytes the more choices; a case takes some hundred at the most.
_SIZES = (16, 48, 96, 160, 320)


def main() -> int:
    """Fuzz for a while."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--cases", type=int, default=sys.maxsize, help="at the most")
    parser.add_argument("--case", type=bytes.fromhex, help="run this one only")
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--corpus", type=Path, help="a folder for what --guided finds worth keeping")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # a stream that nobody finishes says so
    if options.guided:
        _guided(options.minutes, options.corpus)
    if options.case is not None:
        return _run_one(options.case)
    return _at_random(options.minutes, options.seed, options.cases)


def _run_one(source: bytes) -> int:
    from tests.fuzz.running import Runner

    with Runner() as runner:
        runner.run(source)
    print("every invariant holds")
    return 0


def _at_random(minutes: float, seed: int | None, most: int) -> int:
    from tests.fuzz.running import Runner

    seed = random.randrange(1 << 32) if seed is None else seed
    chosen = random.Random(seed)
    begun, done, found = time.monotonic(), 0, 0
    with Runner() as runner:
        while time.monotonic() < begun + minutes * 60 and done < most:
            source = chosen.randbytes(chosen.choice(_SIZES))
            done += 1
            try:
                runner.run(source)
            except AssertionError as error:
                found += 1
                print(f"{error}\n  --case {source.hex()}", flush=True)
    print(
        f"seed {seed}: {done} cases, {done / (time.monotonic() - begun):.0f} a second, {found} broke an invariant"
    )
    return 1 if found else 0


def _guided(minutes: float, corpus: Path | None) -> NoReturn:
    if find_spec("atheris") is None:
        sys.exit("--guided needs atheris: pip install atheris")
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]  # optional

    with atheris.instrument_imports(include=["envelope"]):
        from tests.fuzz.running import Runner

    runner = Runner()
    arguments = [sys.argv[0], f"-max_total_time={int(minutes * 60)}", "-max_len=400", "-print_final_stats=1"]
    atheris.Setup([*arguments, *([str(corpus)] if corpus else [])], runner.run)
    atheris.Fuzz()  # ends the process
    raise SystemExit


if __name__ == "__main__":
    sys.exit(main())
