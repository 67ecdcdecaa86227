"""The kinds of load: full speed (our own closed loop, or wrk) for throughput, the open loop for latency at a fixed rate, idle
connections for memory, and flips of the mode meanwhile. Each returns a dict of numbers. It keeps no results and judges none.
"""

import hashlib
import http.client
import json
import os
import re
import select
import socket
import ssl
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class LoadFailed(Exception):
    """The load could not be made, or was answered wrongly."""


def closed_loop(programs, contender, mix, threads, connections, seconds, seed, body):
    """The command of our own load at full speed, and what its environment needs."""
    numbers = [str(number) for number in (threads, connections, seconds)]
    return [programs["load"], f"127.0.0.1:{contender.port}", *numbers, mix, str(seed), str(body)], {}


def wrk(programs, contender, mix, threads, connections, seconds, seed, body):
    """The same by wrk."""
    command = [programs["wrk"], "-t", str(threads), "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s"]
    scheme = "https" if contender.is_tls() else "http"
    return command + ["-s", f"{HERE}/load.lua", f"{scheme}://127.0.0.1:{contender.port}"], {
        "UCS_MIX": mix, "UCS_SEED": str(seed), "UCS_BODY": str(body)}


def h2load(programs, contender, mix, threads, connections, seconds, seed, body):
    """The same over HTTP/2 by h2load, ten streams at a time on each connection; GET alone."""
    scheme = "https" if contender.is_tls() else "http"
    with open(mix, encoding="utf-8") as file:
        paths = [line.split(" ")[1].strip().replace("{}", "100000000000") for line in file]
    command = [programs["h2load"], "-t", str(threads), "-c", str(connections), "-m", "10", "-D", str(seconds)]
    return command + [f"{scheme}://127.0.0.1:{contender.port}{path}" for path in paths], {}


def handshakes(kind):
    """A generator of new TLS connections only, whose handshakes are of this kind, e.g. "resumed 1.3"."""
    def generator(programs, contender, _mix, _threads, connections, seconds, _seed, _body):
        numbers = [str(connections), str(seconds)]
        ca = f"{contender.setting.tls}/ca.pem"
        return [programs["handshakes"], f"127.0.0.1:{contender.port}", *numbers, ca, *kind.split()], {}
    return generator


def read_h2load(text):
    """What h2load says, as our own load says it; it knows no percentiles."""
    found = re.search(r"finished in ([\d.]+)s,.*?requests: (\d+) total, \d+ started, (\d+) done, \d+ succeeded, (\d+) failed.*?"
                      r"status codes: (\d+) 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx", text, re.DOTALL)
    if not found:
        return None
    took, _, done, failed, good, bad, refused = found.groups()
    return {"requests": int(done), "failed": int(failed) - int(bad) - int(refused), "refused": int(bad) + int(refused),
            "micros": float(took) * 1e6, "p50": 0, "p99": 0}


def full_speed(generator, programs, processors, contender, mix, connections, seconds, seed, body=0, statuses=False, refused=False):
    """Closed loop at full speed. CPU is taken around the whole run of the load."""
    threads = max(1, len(processors.load) // 2)
    command, environment = generator(programs, contender, mix, threads, connections, seconds, seed, body)
    before, began = contender.cpu_seconds(), time.monotonic()
    measured = generate(command, processors, os.environ | environment, seconds)
    cpu, wall = contender.cpu_seconds() - before, time.monotonic() - began
    if not measured["requests"]:
        raise LoadFailed(f"{contender.name} answered nothing to {connections} connections in {seconds} s")
    if measured["failed"]:
        raise LoadFailed(f"{contender.name}: {measured['failed']} connections failed of {measured['requests']} requests")
    wrong = measured["requests"] - measured["refused"] if refused else measured["refused"]
    if wrong and not statuses:
        raise LoadFailed(f"{contender.name}: {wrong} of {measured['requests']} requests got the wrong status")
    measured["rps"] = measured["requests"] * 1e6 / measured["micros"]
    measured["cpu"] = cpu * 1e6 / measured["requests"]
    measured["busy"] = cpu / wall / contender.setting.workers if contender.setting else 0.0
    measured["rss"] = contender.resident()
    return measured


def open_loop(programs, processors, contender, mix, connections, rate, seconds, seed):
    """Requests due at a fixed mean rate, whatever the answers do."""
    command = [programs["openloop"], f"127.0.0.1:{contender.port}", str(connections), str(rate), str(seconds), mix, str(seed)]
    before = contender.cpu_seconds()
    measured = generate(command, processors, dict(os.environ), seconds)
    measured["cpu"] = (contender.cpu_seconds() - before) * 1e6 / measured["requests"]
    if measured["refused"]:
        raise LoadFailed(f"{contender.name}: {measured['refused']} requests of the fixed rate got the wrong status")
    return measured


def generate(command, processors, environment, seconds):
    pin = lambda: os.sched_setaffinity(0, processors.load)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=pin, timeout=seconds + 60)
    if os.path.basename(command[0]) == "h2load" and (measured := read_h2load(done.stdout)):
        return measured
    line = next((line for line in done.stdout.splitlines() if line.startswith("JSON ")), None)
    if done.returncode or line is None:
        raise LoadFailed(f"{os.path.basename(command[0])} failed: {done.stdout[-500:]}{done.stderr[-500:]}")
    return json.loads(line[5:])


def idle(contender, path, count, before):
    """Opens `count` connections, has one request answered on each, and leaves them. Resident bytes for each, over what the
    contender had `before`."""
    request = f"GET {path} HTTP/1.1\r\nHost: ucs.test:8080\r\n\r\n".encode()
    trust = ssl.create_default_context(cafile=f"{contender.setting.tls}/ca.pem") if contender.is_tls() else None
    sockets = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", contender.port), 5)
            client = trust.wrap_socket(client, server_hostname="localhost") if trust else client
            sockets.append(client)
            client.sendall(request)
            read_answer(client, contender.name)
        time.sleep(1)
        after = contender.resident()
        check_alive(sockets, request, contender.name)
        return {"per_connection": (after - before) / count, "rss": after}
    finally:
        for client in sockets:
            client.close()


def read_answer(client, name):
    data = b""
    while b"\r\n\r\n" not in data:
        got = client.recv(65536)
        if not got:
            raise LoadFailed(f"{name} closed a connection that should stay open: {data[:200]!r}")
        data += got
    head, body = data.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
    missing = int(fields[b"content-length"]) - len(body)
    while missing > 0:
        missing -= len(client.recv(65536))


def check_alive(sockets, request, name):
    """The first, the last and some between must still answer: a proxy that closed them would look thrifty."""
    for client in sockets[:: max(1, len(sockets) // 20)]:
        client.sendall(request)
        read_answer(client, name)


class Pages:
    """So many open web pages, from a thread of its own: each follows the events, and asks every 15 s for what a page asks."""

    TOKENS = ("a" * 43, "b" * 43)  # a principal may follow 32 streams
    ASKED = ("/readyz", "/metrics", "/routes")

    def __init__(self, contender, count):
        self.port, self.count, self.bytes, self.failures = contender.admin, count, 0, []
        self.over, self.thread = threading.Event(), threading.Thread(target=self.run, daemon=True)

    @classmethod
    def access(cls, folder):
        """The access.yaml that knows the pages."""
        hashes = [hashlib.sha256(token.encode()).hexdigest() for token in cls.TOKENS]
        rows = [f"  - {{name: p{n}, token_sha256: {digest}, permissions: ['mode:read']}}\n" for n, digest in enumerate(hashes)]
        path = f"{folder}/access.yaml"
        with open(path, "w", encoding="ascii") as file:
            file.write("version: 1\nprincipals:\n" + "".join(rows))
        return path

    def __enter__(self):
        self.streams = [self.ask("/mode/events", page) for page in range(self.count)]
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        for stream in self.streams:
            stream.close()

    def ask(self, path, page):
        client = socket.create_connection(("127.0.0.1", self.port), 5)
        token = self.TOKENS[page % len(self.TOKENS)]
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        if not (begin := client.recv(4096)).startswith(b"HTTP/1.1 200"):
            raise LoadFailed(f"a page got {begin[:200]!r} for {path}")
        return client

    def run(self):
        page, due = 0, time.monotonic()
        while not self.over.is_set():
            for stream in select.select(self.streams, [], [], 0.05)[0]:
                got = len(stream.recv(65536))
                self.bytes += got
                if not got:
                    self.failures.append("an event stream ended")
                    return
            if time.monotonic() >= due:
                due, page = due + 15 / self.count, page + 1
                try:
                    for path in self.ASKED:
                        self.ask(path, page).close()
                except (OSError, LoadFailed) as error:
                    self.failures.append(str(error))


class Flipper:
    """Flips the mode ten times a second through the admin API, from a thread of its own."""

    def __init__(self, contender):
        self.port, self.flips, self.failures, self.millis = contender.admin, 0, [], []
        with open(f"{contender.folder}/state/admin.token", encoding="ascii") as file:
            self.token = file.read().strip()
        self.over, self.thread = threading.Event(), threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.flip("production")

    def run(self):
        next_flip, modes = time.monotonic(), ["maintenance", "production"]
        while not self.over.is_set():
            self.flip(modes[self.flips % 2])
            next_flip = max(next_flip + 0.1, time.monotonic())
            self.over.wait(next_flip - time.monotonic())

    def flip(self, mode):
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request("PUT", "/mode", json.dumps({"mode": mode}), headers)
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            if answer.status != 200:
                self.failures.append(f"{answer.status} {text[:200]!r}")
        except OSError as error:
            self.failures.append(str(error))
        self.flips += 1
        self.millis.append((time.monotonic() - began) * 1000)
