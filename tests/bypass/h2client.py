"""A small client of HTTP/2 that sends a head of HTTP/1.1 as the same request in HTTP/2, byte for byte: its line becomes
the pseudo fields, whatever they hold. It reads status and fields of the response."""

import struct

from connection import Answer, Connection

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
# A dynamic table of no bytes, so that each field section can be read by itself; a stream window for any response.
OWN_SETTINGS = struct.pack(">HIHI", 1, 0, 4, 0x7fffffff)

# The static table (RFC 7541, A), and the lengths of the Huffman codes, as letters from `a` for 5 bits.
PSEUDO = [(":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
          (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
          (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500")]
NAMES = ("accept-charset accept-encoding accept-language accept-ranges accept access-control-allow-origin age allow "
         "authorization cache-control content-disposition content-encoding content-language content-length "
         "content-location content-range content-type cookie date etag expect expires from host if-match "
         "if-modified-since if-none-match if-range if-unmodified-since last-modified link location max-forwards "
         "proxy-authenticate proxy-authorization range referer refresh retry-after server set-cookie "
         "strict-transport-security transfer-encoding user-agent vary via www-authenticate").split()
LENGTHS = ("isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhfibccccccccccccccccccccccdcdioijbkabababbbaccbbba"
           "bcbaabccccckgjixprpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrsvvporsruvvvwwvtuoqvwwvwtqqvvxwww"
           "ptpqrqqsrruuttvsvwvvwwwwwxwwwwwv")


def huffman():
    """{(length, code): byte}: codes of one length follow each other."""
    codes, code = {}, 0
    for length in range(5, 31):
        code <<= 1
        for byte, letter in enumerate(LENGTHS):
            if ord(letter) - ord("a") + 5 == length:
                codes[length, code] = byte
                code += 1
    return codes


CODES = huffman()


class Client(Connection):
    """One stream at a time."""

    def connect(self):
        if self.trust:
            self.trust.set_alpn_protocols(["h2"])
        super().connect()
        self.stream = 1
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, OWN_SETTINGS))

    def ask(self, head, _method):
        """The answer; None after a reset."""
        stream, self.stream = self.stream, self.stream + 2
        self.socket.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream, section(fields_of(head))))
        answer = None
        while True:
            kind, flags, about, payload = self.read()
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                self.close()
                return answer
            elif about == stream and kind == RST_STREAM:
                return answer
            elif about == stream and kind in (HEADERS, DATA):
                if kind == HEADERS and answer is None:
                    fields = read_section(payload)
                    answer = Answer(int(fields.pop(":status")), fields)
                if payload and kind == DATA:
                    self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
                if flags & END_STREAM:
                    return answer

    def read(self):
        head = self.exactly(9)
        length = int.from_bytes(head[:3], "big")
        return head[3], head[4], int.from_bytes(head[5:], "big") & 0x7fffffff, self.exactly(length)

    def exactly(self, length):
        data = self.file.read(length)
        if len(data) < length:
            raise ConnectionError("the connection ended")
        return data


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def fields_of(head):
    """The head of HTTP/1.1 as fields: what stands in its line, whatever that is, and its own in lower case."""
    lines = head[:-4].split(b"\r\n")
    method, _, rest = lines[0].partition(b" ")
    target = rest[:-9] if rest.endswith((b" HTTP/1.1", b" HTTP/1.0")) else rest
    fields = [(b":method", method), (b":scheme", b"http"), (b":path", target)]
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"host" and not any(name == b":authority" for name, _ in fields):
            fields.insert(2, (b":authority", value.strip()))
        else:
            fields.append((name.lower(), value.strip()))
    # A request without a body says so by its end; the length stays as it is.
    return fields


def section(fields):
    return b"".join(b"\x10" + text(name) + text(value) for name, value in fields)


def text(data):
    return number(len(data)) + data


def number(value):
    if value < 127:
        return bytes([value])
    out, value = bytearray([127]), value - 127
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_section(data):
    fields, at = {}, 0
    while at < len(data):
        first = data[at]
        bits = 7 if first & 0x80 else 6 if first & 0x40 else 5 if first & 0x20 else 4
        index, at = read_number(data, at, bits)
        if bits == 5:
            continue
        name, value = static(index) if index else (None, "")
        if bits != 7:
            if not index:
                name, at = read_text(data, at)
            value, at = read_text(data, at)
        fields[name] = value
    return fields


def static(index):
    return PSEUDO[index - 1] if index < 15 else (NAMES[index - 15], "gzip, deflate" if index == 16 else "")


def read_number(data, at, bits):
    most = (1 << bits) - 1
    value, at, shift = data[at] & most, at + 1, 0
    if value < most:
        return value, at
    while True:
        byte, at = data[at], at + 1
        value += (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def read_text(data, at):
    is_coded = data[at] & 0x80
    length, at = read_number(data, at, 7)
    raw, at = data[at:at + length], at + length
    if not is_coded:
        return raw.decode("latin-1"), at
    out, code, bits = bytearray(), 0, 0
    for byte in raw:
        for place in range(7, -1, -1):
            code, bits = code << 1 | byte >> place & 1, bits + 1
            if (bits, code) in CODES:
                out.append(CODES[bits, code])
                code, bits = 0, 0
    return out.decode("latin-1"), at
