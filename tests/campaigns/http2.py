"""What the clients of the HTTP/2 crowds send: connections that begin with several streams at once, as frames (RFC 9113). It reads
nothing; a field is a literal that is never indexed."""

import struct

DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 8, 9
END_STREAM, END_HEADERS = 1, 4
# Each connection of a crowd has so many streams.
STREAMS = 8
ALL = 0x7FFFFFFF


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def fields(method, path, *more):
    usual = [(b":method", method), (b":scheme", b"http"), (b":authority", b"ucs.test"), (b":path", path)]
    return b"".join(b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in [*usual, *more])


def numbers():
    return range(1, 2 * STREAMS, 2)


def start(window=ALL):
    """The preface. A window of all: the server may send whatever the socket takes."""
    windows = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x70000000))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + windows


def requests(path, window=ALL):
    block = fields(b"GET", path)
    return start(window) + b"".join(frame(HEADERS, END_HEADERS | END_STREAM, number, block) for number in numbers())


def uploads(path):
    """Bodies of 100 MB that have only begun."""
    block = fields(b"POST", path, (b"content-type", b"application/json"), (b"content-length", b"100000000"))
    return start() + b"".join(frame(HEADERS, END_HEADERS, number, block) + frame(DATA, 0, number, b"{") for number in numbers())


def pieces(size):
    """As much more of each body."""
    return b"".join(frame(DATA, 0, number, b"x" * size) for number in numbers())


def endless_head():
    """A field section that goes on and on."""
    return start() + frame(HEADERS, 0, 1, fields(b"GET", b"/profiles/1")) + more_of_head(100)


def more_of_head(size):
    return frame(CONTINUATION, 0, 1, b"\x10\x01x" + bytes([size]) + b"y" * size)


def resets():
    return b"".join(frame(RST_STREAM, 0, number, struct.pack(">I", 8)) for number in numbers())
