"""Spellings of requests that a mode refuses: what a client could send in the hope that the gateway and the servlet
container read it differently. Pure: a random generator in, heads of requests out; no sockets, no answers."""

from dataclasses import dataclass, field

# What stands for an identifier in the paths that are given to `Spellings`.
PLAIN = "42"
# `.` and `/` as some server somewhere reads them. The first few are the ones that servers of today do read so.
DOTS = [".", "%2e", "%2E", "%252e", "%25%32%65", "%c0%ae", "%c0%2e", "%e0%80%ae", "%u002e", "%uff0e", "%00.", ".%00",
        "%2e%00", "%ef%bc%8e", "\u3002", "\xff", "%0d", "%2%65", "%%32e"]
SLASHES = ["/", "%2f", "%2F", "\\", "%5c", "%5C", "//", "/./", "/;/", ";/", "/;x=y/", "/%2e/", "/.;/", "%252f",
           "%255c", "%25252f", "%c0%af", "%c1%9c", "%e0%80%af", "%u002f", "%u2215", "%uff0f", "%ef%bc%8f", "/%20/",
           "%2f/", "/%2f", "\\/", "/\\", "%3b/", "/%3b/", "%00/", "/%00/", "/%09/", "%2%66", "%%32f", "/\x0b/",
           "/\xa0/"]
UPS = ["..", "%2e%2e", "%2E.", ".%2e", "..;", "..;x=y", "..;/../x", "%2e%2e;", ".;.", ";..", "..%3b", "..%3bx",
       "..%00", "..%20", "..%09", "..%0a", "..%23", "..%3f", "..\\", "...", "....", "..;..", "..,", "%2e%2e%3b",
       ". .", "..\x00", "..\r", "..%ff", "..%c2%a0", "..%252f"]
# Read as usual by at least one container: combinations of these get furthest.
LIKELY_UPS = ["..", "%2e%2e", ".%2e", "%2E%2E", "..;", "..;x=y", "%2e%2e;a", "..;jsessionid=1"]
LIKELY_SLASHES = ["/", "/", "/", "//", "%2f", "%2F", "/./", "/%2e/", ";/", ";x=y/", "/;/", "\\", "%5c"]
NOISE = [";", ";x=y", ";jsessionid=0A", "%3b", "%3Bx", "%00", "%20", "%09", "%0a", "%0d%0a", "%ff", "%c3%a9", "%",
         "%2", "%zz", ".", "..", "~", "$", "%23", "#", "%3f", "*", "+", ",", "|", "{", "}", "^", "[", "]", "`", "\"",
         "<", ">", "\t", "\x01", "\x7f", "\x80", "\xe9", "\xff", "%7f", "%80", "%c2%80", "%e2%80%8b", "%ef%bb%bf",
         ".json", ".do", "!", ":", "@", "%40", "%25", "%2525", "%c0%80", "%ed%a0%80", "%u0000",
         "\u0131".encode("utf-8").decode("latin-1")]
METHOD_OVERRIDES = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Method", "X-Original-Method",
                    "X-Forwarded-Method", "X-Envoy-Original-Method", "X_HTTP_Method_Override",
                    "X-HTTP_Method-Override", "x-http-method-override", "X_METHOD_OVERRIDE", "X_Http-Method"]
REWRITES = ["X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Rewrite-URI", "X-Forwarded-URI",
            "X-Forwarded-Path", "X-Envoy-Original-Path", "X-Servlet-Path", "X_Original_URL", "X-Original_URL",
            "X_REWRITE_URL", "x-rewrite-url"]
# Each request of the campaign belongs to one family; those with `path` in their name spell the path only.
PATH_FAMILIES = ["traversal path", "one segment path", "wild traversal path", "parameter path", "slash path",
                 "escape path", "overlong path", "case path", "noise path", "raw byte path", "mixed path"]
OTHER_FAMILIES = ["absolute form", "override header", "rewrite header", "method", "fragment or query", "request line"]


@dataclass
class Request:
    """One request as bytes on the wire, with the family that it comes from."""
    family: str
    method: str
    target: str
    headers: list = field(default_factory=list)
    line: str = ""

    def head(self, host):
        """Every character is one byte (Latin-1); what is beyond is UTF-8, raw."""
        line = self.line or f"{self.method} {self.target} HTTP/1.1"
        headers = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return wire(f"{line}\r\nHost: {host}\r\n{headers}\r\n")


def wire(text):
    return b"".join(bytes([ord(c)]) if ord(c) < 256 else c.encode() for c in text)


class Spellings:
    """Makes requests for an operation that is refused, perhaps under the cover of one that is admitted."""

    def __init__(self, random, refused, admitted, families):
        """`refused` and `admitted` are lists of (method, path) with plain values in the paths."""
        self.random, self.refused, self.admitted, self.families = random, refused, admitted, families

    def next(self):
        family = self.random.choice(self.families)
        method, path = self.random.choice(self.refused)
        request = getattr(self, "_" + family.replace(" ", "_"))(method, path)
        request.family = family
        request.headers += [("Content-Length", "0")]
        return request

    def _one(self, choices):
        return self.random.choice(choices)

    def _chance(self, share):
        return self.random.random() < share

    def _cover(self):
        """The first segments of an admitted operation: where a rule by prefix looks."""
        segments = self._one(self.admitted)[1].split("/")[1:]
        return segments[:self.random.randint(1, len(segments))]

    def _traversal(self, path, ups, slashes):
        cover = self._cover()
        climb = [self._one(ups)] * len(cover) if self._chance(0.6) else [self._one(ups) for _ in cover]
        if self._chance(0.15):
            climb.append(self._one(ups))
        one = self._one(slashes)
        slash = (lambda: one) if self._chance(0.6) else (lambda: self._one(slashes))
        return "/" + "/".join(cover) + "".join(slash() + up for up in climb) + slash() + path[1:]

    def _traversal_path(self, method, path):
        return Request("", method, self._traversal(path, LIKELY_UPS, LIKELY_SLASHES))

    def _one_segment_path(self, method, path):
        """The whole way to the refused operation stands where an admitted one of the same method has an identifier, so
        that even a table of whole paths takes it for that operation."""
        alike = [each for each in self.admitted if each[0] == method and PLAIN in each[1].split("/")] or self.admitted
        cover = self._one(alike)[1].split("/")
        at = self._one([n for n, part in enumerate(cover) if part == PLAIN] or [len(cover) - 1])
        slash = self._one(["%2f", "%2F", "%2f", "%2F", "\\", "%5c", "%252f", "%255c", "%c0%af", ";%2f", "%2f%2f"])
        up = self._one(LIKELY_UPS + ["%252e%252e", "..%3b"])
        cover[at] = slash.join([up] * (at - 1 + self._one([0, 0, 0, 1])) + path[1:].split("/"))
        if at + 1 < len(cover):
            # What the template goes on with is to be cut off.
            cover[at] += self._one(["", ";", "%3b", "%3f", "%23", "%00", ";x=%2f"])
        return Request("", method, "/".join(cover))

    def _wild_traversal_path(self, method, path):
        dot = lambda: self._one(DOTS)
        ups = UPS + [dot() + dot() for _ in range(6)]
        return Request("", method, self._traversal(path, ups, SLASHES))

    def _parameter_path(self, method, path):
        """The traversal hides in the parameter of one segment, or parameters stand anywhere."""
        cover = self._cover()
        hidden = self._traversal(path, LIKELY_UPS + UPS, LIKELY_SLASHES + SLASHES)
        return Request("", method, self._one([
            lambda: "/" + "/".join(cover) + self._one([";x=", ";", "%3bx=", ";x=y;z=", ";x=%22", ";/"]) + hidden,
            lambda: "/" + "/".join(cover) + ";x="
            + (self._one(LIKELY_SLASHES) + self._one(LIKELY_UPS)) * (len(cover) + 1) + path,
            lambda: path.replace("/", "/" + self._one([";x/", ";/", ";x=..%2f/", "%3b/"]), 1),
            lambda: "".join("/" + each + self._one(["", "", "", ";", ";x=y", "%3b", ";/..", ";%2e%2e"])
                            for each in path[1:].split("/")),
        ])())

    def _slash_path(self, method, path):
        parts = path[1:].split("/")
        start = self._one(["/", "//", "///", "/./", "/;/", "\\", "/%2f", "%2f", "/%2e/", "/%5c", "/ "])
        inner = "".join(part + (self._one(SLASHES) if self._chance(0.6) else "/") for part in parts[:-1])
        end = self._one(["", "", "/", "//", "/.", "%2f", ";", "/..;/" + parts[-1]])
        return Request("", method, start + inner + parts[-1] + end)

    def _escape_path(self, method, path):
        """Any character escaped once, twice, or in the style of `%u`."""
        share = self.random.random()
        def spell(c):
            if c == "/" and not self._chance(0.05) or not self._chance(share):
                return c
            digits = f"{ord(c):02x}" if self._chance(0.5) else f"{ord(c):02X}"
            return self._one(["%", "%", "%", "%", "%25", "%u00", "%2525"]) + digits
        return Request("", method, "".join(map(spell, path)))

    def _overlong_path(self, method, path):
        """Some characters as overlong UTF-8, which old decoders took."""
        def spell(c):
            if not self._chance(0.25):
                return c
            code = ord(c)
            two = f"%{0xc0 | code >> 6:02x}%{0x80 | code & 0x3f:02x}"
            three = f"%e0%{0x80 | code >> 6:02x}%{0x80 | code & 0x3f:02x}"
            raw = chr(0xc0 | code >> 6) + chr(0x80 | code & 0x3f)
            return self._one([two, three, raw, f"%c0%{code:02x}"])
        if self._chance(0.5):
            path = self._traversal(path, ["..", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae"], ["/", "%c0%af", "%e0%80%af"])
            return Request("", method, path)
        return Request("", method, "".join(map(spell, path)))

    def _case_path(self, method, path):
        games = [str.upper, str.title, str.swapcase, lambda text: "".join(self._one([c, c.upper()]) for c in text)]
        path = self._one(games)(path)
        fold = {"s": "%c5%bf", "k": "%e2%84%aa", "i": "%c4%b1"}
        if self._chance(0.3):
            path = "".join(fold[c] if c in fold and self._chance(0.5) else c for c in path)
        return Request("", method, path)

    def _noise_path(self, method, path):
        for _ in range(self.random.randint(1, 2)):
            at = self._one([len(path), path.find("/", 1) % len(path), 1, self.random.randint(1, len(path))])
            path = path[:at] + self._one(NOISE) + path[at:]
        return Request("", method, path)

    def _raw_byte_path(self, method, path):
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randint(0, len(path))
            # CR and LF would end the line, and that is another campaign (tests/cases/wire).
            byte = self._one([b for b in range(256) if b not in (10, 13)])
            spelt = chr(byte) if self._chance(0.5) else f"%{byte:02x}"
            path = path[:at] + spelt + path[at + self.random.randint(0, 1):]
        return Request("", method, path)

    def _mixed_path(self, method, path):
        for _ in range(2):
            family = self._one(PATH_FAMILIES[:-1])
            rooted = path if path.startswith("/") else "/" + path
            path = getattr(self, "_" + family.replace(" ", "_"))(method, rooted).target
        return Request("", method, path)

    def _absolute_form(self, method, path):
        if self._chance(0.5):
            path = getattr(self, self._one(["_traversal_path", "_slash_path", "_parameter_path"]))(method, path).target
        start = self._one(["http://ucs", "http://ucs:80", "HTTP://ucs", "http://user@ucs", "http://ucs.", "http://",
                           "http:/", "http:", "https://ucs", "ftp://ucs", "//ucs", "http://ucs;x", "http://ucs\\",
                           "http://ucs/profiles/..", "http://ucs?", "http://ucs#", "http://[::1]", "http://ucs%2f",
                           "http://ucs@", "http://127.0.0.1", "http:\\\\ucs", "http:///ucs", "jar:http://ucs!",
                           "http://ucs:80:80", "http://u cs", "http://\xff"])
        return Request("", method, start + path)

    def _override_header(self, method, path):
        """An admitted method on the path, and the refused one in a header; the path perhaps in another."""
        wanted = self._one([method, method, method.lower(), f" {method}", f"{method},GET"])
        headers = [(self._one(METHOD_OVERRIDES), wanted)]
        outer = self._one(["GET", "GET", "HEAD", "POST", "PUT", "OPTIONS"])
        if self._chance(0.4):
            headers.append((self._one(REWRITES), path))
            outer, path = self._one(self.admitted)
        if self._chance(0.3):
            headers.append(("Connection", self._one(["X-Request-Id", "close, X-HTTP-Method", "Host", "keep-alive"])))
        return Request("", outer, path, headers)

    def _rewrite_header(self, method, path):
        admitted_method, admitted_path = self._one(self.admitted)
        headers = [(self._one(REWRITES), self._one([path, path, "http://ucs" + path, "/." + path, path + "?x=y"]))]
        if admitted_method != method and self._chance(0.8):
            headers.append((self._one(METHOD_OVERRIDES), method))
        if self._chance(0.3):
            headers.append(("X-Forwarded-Prefix", self._one([path, "/metadata", "/..", "/profiles/.."])))
        return Request("", admitted_method, admitted_path, headers)

    def _method(self, method, path):
        odd = [method.lower(), method.title(), method + "\t", method + "%20", "\t" + method, "OPTIONS", "TRACE",
               "PATCH", "PROPFIND", "CONNECT", "MOVE", "COPY", "LOCK", "M-SEARCH", "PRI", "QUERY", method + "X",
               "GET" + method, "\x00" + method, method + "\xff", "HEAD", "LINK", "DEBUG", "get", "GET,POST", "POST;",
               "post", "X" * 40]
        return Request("", self._one(odd), path)

    def _fragment_or_query(self, method, path):
        cover = "/" + "/".join(self._cover())
        up = "/".join([".."] * 4)
        return Request("", method, self._one([
            f"{cover}?/{up}{path}", f"{cover}#/{up}{path}", f"{cover}%3f/{up}{path}", f"{cover}%23/{up}{path}",
            f"?{path}", f"#{path}", f"{path}?{cover}", f"{path}#{cover}", f"{path}%3f{cover}", f"{path}%23", f"{path}?",
            f"{path}?;/{up}{cover}", f"*?{path}", f"*{path}", f"{cover}?_path={path}", f"{cover}%0d%0a{path}",
            f"{cover}%20HTTP/1.1%0d%0a{path}",
        ]))

    def _request_line(self, method, path):
        cover = "/" + "/".join(self._cover())
        line = self._one([
            f"{method} {path} HTTP/1.0", f"{method}  {path} HTTP/1.1", f"{method}\t{path} HTTP/1.1",
            f"{method} {path}  HTTP/1.1", f"{method} {path}\tHTTP/1.1", f"{method} {path}",
            f"{method} {path} HTTP/0.9", f"{method} {path} HTTP/2.0", f"{method} {path} http/1.1",
            f"{method} {path} HTTP/1.1 x", f"{method} {cover} {path} HTTP/1.1", f" {method} {path} HTTP/1.1",
            f"\r\n{method} {path} HTTP/1.1", f"{method} {cover}\r{path} HTTP/1.1",
            f"{method} {cover}\x00{path} HTTP/1.1", f"{method} {path}\x00 HTTP/1.1",
            f"{method} {cover} HTTP/1.1\x00{path}", f"{method} \x0b{path} HTTP/1.1", f"{method} {path[1:]} HTTP/1.1",
            f"{method} {cover}\xa0{path} HTTP/1.1", f"{method} {path} HTTP/1.1\x0b", f"{method} {path} HTTP/01.1",
            f"{method} {path} HTTP/1.10", f"\xef\xbb\xbf{method} {path} HTTP/1.1",
        ])
        return Request("", method, path, line=line)
