#!/usr/bin/env python3
"""Asks each port of this machine a hundred times a second for a page, until its standard input ends. Prints the seconds for which
each got no answer, and their sum, as JSON: a gap between two answers counts as far as it is longer than two questions apart.

    downtime.py PORT…
"""

import asyncio, json, sys, time

BETWEEN = 0.01
# A question that nobody answers must not hold up the next one for long.
LONGEST = 0.25
REQUEST = b"GET /health HTTP/1.0\r\n\r\n"


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


async def watch(port, end, gaps):
    last = time.monotonic()
    while not end.is_set():
        begun = time.monotonic()
        try:
            answered = await asyncio.wait_for(ask(port), LONGEST)
        except (OSError, asyncio.TimeoutError):
            answered = False
        now = time.monotonic()
        if answered:
            if now - last > 5 * BETWEEN:
                gaps[port] += now - last - BETWEEN
            last = now
        await asyncio.sleep(max(0, begun + BETWEEN - now))
    if time.monotonic() - last > 5 * BETWEEN:
        gaps[port] += time.monotonic() - last


async def main(ports):
    end, gaps = asyncio.Event(), dict.fromkeys(ports, 0.0)
    asks = [asyncio.create_task(watch(port, end, gaps)) for port in ports]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    end.set()
    await asyncio.gather(*asks)
    print(json.dumps({"sum": round(sum(gaps.values()), 3), "ports": {port: round(gap, 3) for port, gap in gaps.items()}}))


asyncio.run(main([int(port) for port in sys.argv[1:]]))
