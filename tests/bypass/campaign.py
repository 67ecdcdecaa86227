"""The campaign of `tests/bypass/run`: sends spellings to a proxy before a servlet container and decides, by the
container's own word alone, whether a servlet of a class that the mode refuses took one. Programs are started by
hosts.py, requests are made by spellings.py."""

import argparse
import collections
import concurrent.futures
import http.client
import random
import sys
import time
import urllib.parse

import h2client
import hosts
import spellings
from connection import ANSWER_SECONDS, Answer, Connection

SEED = 4
CONNECTIONS = 4
# Bypasses and faults printed in full, a phase.
TOLD = 20
MODES = ["production", "maintenance"]
# A share of the campaign is ordinary, on the same connections, so that a refusal cannot spoil what comes after it.
ORDINARY_SHARE = 0.05
# One word each that RFC 3986 allows, plain or escaped once.
VALUES = ["42", "x-1", "00027a52JCGY000M", "Gold.Card", "a%20b", "caf%C3%A9", "A&B=c", "x~y_z", "me%40ucs", "1,2",
          "...a", "50%25"]


class Operation:
    """A documented operation, and the rule of the modes: schema reads always, schema writes in maintenance, all
    other in production. Interactions belong to whom they are listed by."""

    def __init__(self, method, template, kind):
        self.method, self.template = method, template
        interaction = "profile" if template.startswith("/customers/") else "service"
        self.kind = interaction if kind == "interaction" else kind

    def admitted_in(self, mode):
        if self.kind == "schema":
            return self.method == "GET" or mode == "maintenance"
        return mode == "production"

    def path(self, value):
        return "/".join(value() if part.startswith("{") else part for part in self.template.split("/"))


def operations():
    """Those of the generations that the shipped table is for. The gateway answers the class `server` itself."""
    rows = (hosts.ROOT / "tests/cases/operations.tsv").read_text().splitlines()[1:]
    columns = [row.split("\t") for row in rows]
    mine = [row for row in columns if row[0] in ("8.0/8.1 UCS", "8.5 UCS-CS") and row[5] != "server"]
    found = {(row[3], row[4]): row[5] for row in mine}
    return [Operation(method, template, kind) for (method, template), kind in sorted(found.items())]


def is_refused(mode, kind, method):
    """Whether a servlet of this class must not see this method. OPTIONS changes nothing: the table lets it go where any
    operation of its path may go, so it is a read of the schema."""
    if kind == "schema":
        return mode == "production" and method not in ("GET", "HEAD", "OPTIONS")
    if kind == "server":
        # Set Server Mode is answered by the gateway; the status may be asked of UCS.
        return method == "POST"
    return kind in ("profile", "service") and mode == "maintenance"


class Client(Connection):
    def ask(self, head, method):
        self.socket.sendall(head)
        line = self.file.readline(65536)
        if not line:
            raise ConnectionError("the connection ended")
        return self.read(line, method)

    def read(self, line, method):
        if not line.startswith(b"HTTP/1."):
            self.close()
            return None
        status, headers = int(line.split()[1]), {}
        while (field := self.file.readline(65536)) not in (b"\r\n", b"\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if method != "HEAD" and status not in (204, 304):
            self.skip_body(headers)
        if headers.get("connection", "").lower() == "close" or line.startswith(b"HTTP/1.0"):
            self.close()
        return Answer(status, headers)

    def skip_body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.file.readline().split(b";")[0], 16):
                self.file.read(size + 2)
            self.file.readline()
        elif "content-length" in headers:
            self.file.read(int(headers["content-length"]))
        else:
            self.close()


class Findings:
    """What one phase has shown."""

    def __init__(self):
        self.spellings = self.ordinary = 0
        self.outcomes = collections.Counter()
        self.bypasses, self.faults = [], []

    def add(self, other):
        self.spellings += other.spellings
        self.ordinary += other.ordinary
        self.outcomes += other.outcomes
        self.bypasses += other.bypasses
        self.faults += other.faults

    def families(self):
        return collections.Counter(request.family for request, _ in self.bypasses)


def made(random_, mode, count, families):
    """The requests of a phase: spellings, and among them (operation, path) of ordinary ones."""
    known = operations()
    plain = [(each.admitted_in(mode), (each.method, each.path(lambda: spellings.PLAIN))) for each in known]
    refused, admitted = ([request for passes, request in plain if passes == wanted] for wanted in (False, True))
    source = spellings.Spellings(random_, refused, admitted, families)
    for _ in range(count):
        yield source.next()
        if random_.random() < ORDINARY_SHARE:
            operation = random_.choice(known)
            yield operation, operation.path(lambda: random_.choice(VALUES))


def phase(port, mode, requests, connect=lambda port: Client(port, None)):
    """Sends all requests over a few connections at once."""
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        total = Findings()
        shares = [requests[n::CONNECTIONS] for n in range(CONNECTIONS)]
        for findings in pool.map(lambda share: run_share(connect(port), mode, share), shares):
            total.add(findings)
    return total


def run_share(client, mode, requests):
    findings = Findings()
    for each in requests:
        if isinstance(each, tuple):
            check_ordinary(client, mode, *each, findings)
        else:
            try_spelling(client, mode, each, findings)
    client.close()
    return findings


def try_spelling(client, mode, request, findings):
    answer = client.send(request.head("ucs"), request.method)
    if request.family in ("request line", "method"):
        # Whatever the other side made of it, nothing of it is left for the next request.
        client.close()
    findings.spellings += 1
    took = answer and answer.took()
    if took and is_refused(mode, took[0], took[1]):
        findings.bypasses.append((request, took))
    findings.outcomes["none" if answer is None else "taken" if took else answer.status] += 1


def check_ordinary(client, mode, operation, path, findings):
    """In an admitting mode the right servlet sees this method and path; in the other the client gets 503."""
    request = spellings.Request("ordinary", operation.method, path, [("Content-Length", "0")])
    answer = client.send(request.head("ucs"), request.method)
    findings.ordinary += 1
    decoded = urllib.parse.unquote(path)
    escaped = "".join(c if "!" <= c <= "~" and c != "%" else urllib.parse.quote(c) for c in decoded)
    wanted = (200, (operation.kind, operation.method, escaped)) if operation.admitted_in(mode) else (503, None)
    seen = (answer.status, answer.took()) if answer else None
    if seen != wanted:
        findings.faults.append(f"{operation.method} {path} in {mode}: wanted {wanted}, got {seen}")


def every_operation():
    return [(each, each.path(lambda: spellings.PLAIN)) for each in operations()]


def tally(port):
    """{(class, method): count} of all that the container's servlets took since the last tally, by their own count."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    connection.request("GET", "/tally")
    lines = connection.getresponse().read().decode().splitlines()
    return {tuple(line.split(" ")[:2]): int(line.split(" ")[-1]) for line in lines}


def unseen(mode, counted, findings):
    """How many requests servlets of refused classes took beyond those that answers told of."""
    return sum(n for (kind, method), n in counted.items() if is_refused(mode, kind, method)) - len(findings.bypasses)


def against_gateway(options):
    """The test: True if nothing got through and all that is ordinary did."""
    good = True
    print(f"seed {options.seed}; \"bare\" is how many of the spellings reach a refused class without a gateway")
    print(ROW.format("container", "mode", "spellings", "bare", "refused", "admitted", "no answer", "ordinary",
                     "bypasses", "s"))
    for name in options.containers:
        with hosts.container(name, lenient=True) as (upstream, version), hosts.gateway(upstream, options) as gateway:
            for mode in MODES:
                gateway.set_mode(mode)
                good &= gateway_phase(options, version, gateway, upstream, mode)
    print("no bypass, and every ordinary request passed" if good else "FAILED")
    return good


ROW = "{:32} {:12} {:>9} {:>6} {:>8} {:>8} {:>9} {:>8} {:>8} {:>5}"


def gateway_phase(options, version, gateway, upstream, mode):
    started = time.monotonic()
    families = spellings.PATH_FAMILIES + spellings.OTHER_FAMILIES
    requests = list(made(random.Random(f"{options.seed} {mode}"), mode, options.requests, families))
    # What a run proves is measured as well: spellings that no container would follow prove nothing.
    bare = phase(upstream, mode, [each for each in requests if not isinstance(each, tuple)])
    tally(upstream)
    connect = lambda port: (h2client.Client if options.h2 else Client)(port, gateway.trust)
    findings = phase(gateway.port, mode, every_operation() + requests, connect)
    hidden = unseen(mode, tally(upstream), findings)
    outcomes = findings.outcomes
    refused = sum(count for status, count in outcomes.items() if isinstance(status, int) and status >= 400)
    passed = findings.ordinary - len(findings.faults)
    seconds = f"{time.monotonic() - started:.1f}"
    print(ROW.format(version, mode, findings.spellings, len(bare.bypasses), refused, outcomes["taken"],
                     outcomes["none"], passed, len(findings.bypasses) + hidden, seconds), flush=True)
    tell(findings, hidden)
    if options.verbose:
        print("   ", dict(outcomes), "bare:", dict(bare.families()))
    if not bare.bypasses:
        print("VAIN   none of the spellings reaches a refused class even without a gateway")
    return bool(bare.bypasses) and not findings.bypasses and not findings.faults and not hidden


def tell(findings, hidden):
    for request, took in findings.bypasses[:TOLD]:
        print(f"BYPASS {request.family}: {request.head('ucs')!r} was taken as {took}")
    for fault in findings.faults[:TOLD]:
        print(f"ORDINARY {fault}")
    if hidden:
        print(f"BYPASS {hidden} requests of refused classes were taken beyond those that answers tell of")


def against_haproxy(options):
    """The comparison: spellings of the path only, containers as they are shipped; one row for each style of rules."""
    print(f"HAProxy {hosts.haproxy_version()}, seed {options.seed}, {options.requests} spellings a row")
    for name in options.containers:
        with hosts.container(name, lenient=False) as (upstream, version):
            for mode in MODES:
                random_ = random.Random(f"{options.seed} {mode}")
                requests = list(made(random_, mode, options.requests, spellings.PATH_FAMILIES))
                with hosts.gateway(upstream) as gateway:
                    gateway.set_mode(mode)
                    compare(options, f"{version}, {mode}, ucs-gateway", gateway.port, upstream, mode, requests)
                for style, rules in hosts.HAPROXY_RULES.items():
                    with hosts.haproxy(upstream, rules[mode]) as port:
                        compare(options, f"{version}, {mode}, {style}", port, upstream, mode, requests)
    return True


def compare(options, title, port, upstream, mode, requests):
    findings = phase(port, mode, every_operation() + requests)
    distinct = len({request.target for request, _ in findings.bypasses})
    hidden, passed = unseen(mode, tally(upstream), findings), findings.ordinary - len(findings.faults)
    print(f"{title:75} {len(findings.bypasses) + hidden:5} bypasses, {distinct} distinct; "
          f"ordinary {passed} of {findings.ordinary}", flush=True)
    if options.verbose:
        print("   ", dict(findings.families().most_common()), findings.faults[:2])
        for family in findings.families():
            of_family = [each for each in findings.bypasses if each[0].family == family]
            request, took = min(of_family, key=lambda each: len(each[0].target))
            print(f"    {family}: {request.method} {request.target!r} -> {' '.join(took)}")


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bypass/run")
    parser.add_argument("--seed", default=SEED, help="any word or number; the default is fixed")
    parser.add_argument("--requests", type=int, default=6000, help="spellings a container and mode")
    parser.add_argument("--tls", action="store_true", help="clients speak TLS to the gateway")
    parser.add_argument("--h2", action="store_true", help="clients speak HTTP/2 to the gateway")
    parser.add_argument("--full", action="store_true", help="ten times as many")
    parser.add_argument("--container", choices=["jetty", "tomcat"], help="only this one")
    parser.add_argument("--peer", choices=["haproxy"], help="compare with this proxy instead")
    parser.add_argument("--verbose", action="store_true", help="outcomes and examples")
    options = parser.parse_args()
    options.containers = [options.container] if options.container else ["jetty", "tomcat"]
    options.requests *= 10 if options.full else 1
    return options


if __name__ == "__main__":
    chosen = arguments()
    try:
        sys.exit(0 if (against_haproxy if chosen.peer else against_gateway)(chosen) else 1)
    except hosts.Failed as failure:
        sys.exit(f"tests/bypass/run: {failure}")
