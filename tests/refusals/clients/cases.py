"""The cases of a Python client, from standard input, and what it prints of them."""

import sys
import time

PIECES = 16


class Case:
    def __init__(self, line):
        self.name, self.path, _, size, seconds, framing, expect = line.split()
        self.size, self.seconds, self.chunked, self.expect = int(size), float(seconds), framing == "chunked", expect == "1"
        self.headers = {"Content-Type": "application/json"}
        if self.expect:
            self.headers["Expect"] = "100-continue"

    def is_whole(self):
        """Whether the body is handed over at once."""
        return not self.seconds and not self.chunked

    def body(self):
        return b"x" * self.size

    def pieces(self):
        piece = b"x" * (self.size // PIECES)
        for _ in range(PIECES - 1):
            yield piece
            time.sleep(self.seconds / PIECES)
        yield b"x" * (self.size - len(piece) * (PIECES - 1))


def run_all(ask):
    """`ask(address, case)` returns the status. The address is the last argument."""
    address = sys.argv[-1]
    if address == "--check":
        return
    for case in map(Case, sys.stdin):
        try:
            said = ask(address, case)
        except Exception as error:  # whatever a client calls a lost response
            said = f"lost: {type(error).__name__}: {error}".replace("\n", " ")
        print(case.name, said, flush=True)
