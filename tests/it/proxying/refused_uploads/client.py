"""Sends requests that the gateway refuses, with Python's own client, and prints the status of each answer."""

import http.client
import sys
import time

ADDRESS = sys.argv[1]
PATH = "/metadata/profiles/extensions"


def slowly():
    for _ in range(16):
        time.sleep(0.1)
        yield b"x" * 2560


def ask(connection, body, **more):
    connection.request("POST", PATH, body, **more)
    answer = connection.getresponse()
    answer.read()
    print(answer.status, flush=True)


ask(http.client.HTTPConnection(ADDRESS, timeout=30), b"x" * (4 << 20))
pieces = (b"x" * (64 << 10) for _ in range(64))
ask(http.client.HTTPConnection(ADDRESS, timeout=30), pieces, headers={"Transfer-Encoding": "chunked"}, encode_chunked=True)
ask(http.client.HTTPConnection(ADDRESS, timeout=30), slowly(), headers={"Content-Length": str(16 * 2560)})
kept = http.client.HTTPConnection(ADDRESS, timeout=30)
for _ in range(4):
    ask(kept, b"x" * 200)
