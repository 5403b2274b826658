"""Send damaged recordings to a server, several at a time: python -m fuzz.uploads --help.

Each must be answered within a minute with 200, 400, 413 or 415, no process may die, undamaged ones
in between must keep their text, and the memory of the server must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import httpx

from fixtures.server import RunningServer, running_server
from fuzz.byte_mutations import damage
from fuzz.recordings import originals

EXPECTED = (200, 400, 413, 415)
AT_ONCE = 8
SLOWEST = 60.0
GOOD_EVERY = 50


async def send(server: RunningServer, number: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Send so many damaged recordings; return the answers by status, and what was wrong."""
    made = originals()
    answers: Counter[int] = Counter()
    problems: list[str] = []
    numbers = iter(range(number))
    texts: dict[str, str] = {}

    async def client(session: httpx.AsyncClient) -> None:
        for case in numbers:
            random = Random(f"{seed} {case}")
            original = random.choice(made)
            good = case % GOOD_EVERY == 0
            content = original.content
            if not good:
                content = damage(content, random, [one.content for one in made[:5]]).content
            try:
                answer = await session.post(
                    f"{server.url}/v1/audio/transcriptions",
                    files={"file": (f"a.{original.suffix}", content)},
                    timeout=SLOWEST,
                )
            except httpx.HTTPError as error:
                problems.append(f"case {case}: {type(error).__name__}")
                continue
            answers[answer.status_code] += 1
            if answer.status_code not in EXPECTED:
                problems.append(f"case {case}: {answer.status_code} {answer.text[:200]}")
            if good and original.is_read:
                text = answer.json().get("text")
                if text is None or texts.setdefault(original.name, text) != text:
                    problems.append(f"case {case}: {original.name} has another text")
            if case % 1000 == 0:
                print(f"{case}: {dict(answers)}", flush=True)

    async with httpx.AsyncClient() as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    return answers, problems


def resident(server: RunningServer) -> float:
    """Megabytes of the server and its processes."""
    pids = [server.process.pid, *server.children()]
    statuses = [Path(f"/proc/{pid}/statm").read_text("ascii") for pid in pids]
    return sum(int(one.split()[1]) for one in statuses) * 4096 / 1e6


def main() -> None:
    """Parse the arguments and run; exit code 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.uploads", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed damages otherwise")
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--model", default="demo")
    given = parser.parse_args()
    with running_server(given.model) as server:
        asyncio.run(send(server, 500, given.seed + 1))  # afterwards, caches are full
        before, processes, began = resident(server), server.children(), time.monotonic()
        answers, problems = asyncio.run(send(server, given.number, given.seed))
        after = resident(server)
        if server.children() != processes:
            problems.append("a process has died")
    print(f"{dict(answers)} in {time.monotonic() - began:.0f} s")
    print(f"memory: {before:.0f} MB before, {after:.0f} MB after")
    print("\n".join(problems[:50]) or "no problems")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
