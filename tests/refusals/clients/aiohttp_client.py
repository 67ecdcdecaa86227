"""Python's aiohttp."""

import asyncio

import aiohttp
from cases import run_all


async def pieces(case):
    for piece in case.pieces():
        yield piece


async def send(address, case):
    body = case.body() if case.is_whole() else pieces(case)
    headers = dict(case.headers)
    if not case.chunked:
        headers["Content-Length"] = str(case.size)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        url = f"http://{address}{case.path}"
        async with session.post(url, data=body, headers=headers, expect100=case.expect) as response:
            await response.read()
            return response.status


run_all(lambda address, case: asyncio.run(send(address, case)))
