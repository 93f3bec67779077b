#!/usr/bin/env python3
"""Asks each port of this machine a hundred times a second for a page, until its standard input ends. Prints the seconds for which
each got no answer, and their sum, as JSON: the time between two answers counts where a question between them failed. An answer
that a busy machine gives late is an answer.

    downtime.py PORT…
"""

import asyncio, json, sys, time

BETWEEN = 0.01
# A question that nobody answers must not hold up the next one for long; a busy machine may take a while.
LONGEST = 1.0
REQUEST = b"GET /health HTTP/1.0\r\n\r\n"


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


async def watch(port, end, gaps):
    last, failed = time.monotonic(), False
    while not end.is_set():
        begun = time.monotonic()
        try:
            answered = await asyncio.wait_for(ask(port), LONGEST)
        except (OSError, asyncio.TimeoutError):
            answered = False
        now = time.monotonic()
        if answered:
            gaps[port] += now - last - BETWEEN if failed else 0
            last, failed = now, False
        else:
            failed = True
        await asyncio.sleep(max(0, begun + BETWEEN - now))
    gaps[port] += time.monotonic() - last if failed else 0


async def main(ports):
    end, gaps = asyncio.Event(), dict.fromkeys(ports, 0.0)
    asks = [asyncio.create_task(watch(port, end, gaps)) for port in ports]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    end.set()
    await asyncio.gather(*asks)
    print(json.dumps({"sum": round(sum(gaps.values()), 3), "ports": {port: round(gap, 3) for port, gap in gaps.items()}}))


asyncio.run(main([int(port) for port in sys.argv[1:]]))
