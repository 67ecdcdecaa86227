"""Floods against a running gateway, and what an ordinary client notices of them. See `run`.

One process asks as an ordinary client does, others are the flood, so that none slows the other's clock. The bounds that
are checked stand in `BOUNDS`; the figures are printed as a table for docs/security.md.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time

GATEWAY = os.environ["UCS_GATEWAY_BIN"]
TABLE = os.path.join(os.path.dirname(__file__), "../../routes.yaml")
HEAD = b"GET /profiles/0123456789AB HTTP/1.1\r\nHost: ucs.test\r\n"
LARGE = 4 * 1024 * 1024

# What must hold in every flood.
BOUNDS = {"p99 of the ordinary client, ms": 250, "memory that the flood may take, MiB": 256, "descriptors left behind": 8}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    chosen = [name for name in arguments.only.split(",") if name] or list(FLOODS)
    limit = raise_limit()
    if limit < 12_000:
        print(f"only {limit} open files are allowed: the floods are smaller than meant", file=sys.stderr)
    folder = tempfile.mkdtemp(prefix="ucs-gateway-flood-")
    children = []
    try:
        gateway = start(folder, children)
        rows, broken = [], []
        for name in ["nothing", *chosen]:
            row = measure(gateway, name, arguments.seconds)
            rows.append(row)
            broken += judge(row)
            print_row(row)
        print("\n" + "\n".join(table(rows)))
        for fault in broken:
            print("BROKEN:", fault)
        return 1 if broken else 0
    finally:
        end(children)
        shutil.rmtree(folder, ignore_errors=True)


def end(children):
    for child in reversed(children):
        # nginx ends its workers with itself only when it is asked to end.
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


# The gateway, and what it is asked about itself.


class Gateway:
    def __init__(self, process, port, admin, token):
        self.process, self.port, self.admin, self.token = process, port, admin, token

    def metric(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        connection.request("GET", "/metrics", headers={"Authorization": "Bearer " + self.token})
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def start(folder, children, flags=(), before=None):
    small, listen, admin = free_port(), free_port(), free_port()
    # For nginx's own user.
    os.chmod(folder, 0o755)
    with open(f"{folder}/large.bin", "wb") as file:
        file.write(b"y" * LARGE)
    config = f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off; sendfile on; client_max_body_size 0; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        # It keeps little of a response that is not read: filling its buffers would keep its one process from the others.
        listen 127.0.0.1:{small} backlog=4096 sndbuf=128k;
        location / {{ return 200 '{"z" * 1024}'; }}
        # Waits for the whole body first, as a servlet does that reads it.
        location = /profiles {{ proxy_pass http://127.0.0.1:{small}/ok; }}
        location /profiles/large {{ root {folder}; try_files /large.bin =500; }}
    }}
}}
"""
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as file:
        file.write(config)
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    children.append(subprocess.Popen([nginx, "-e", "stderr", "-c", f"{folder}/nginx.conf"]))
    command = [GATEWAY, "serve", "--routes", TABLE, "--upstream", f"http://127.0.0.1:{small}"]
    command += ["--listen", f"127.0.0.1:{listen}", "--admin-listen", f"127.0.0.1:{admin}", "--state-dir", f"{folder}/state"]
    command += ["--initial-mode", "production", "--upstream-mode", "off", "--schema-probe", "off", "--log-level", "error", *flags]
    process = subprocess.Popen(command, preexec_fn=before)
    children.append(process)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=2)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                with open(f"{folder}/state/admin.token", encoding="ascii") as file:
                    return Gateway(process, listen, admin, file.read().strip())
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("the gateway did not become ready")


# One flood.


def measure(gateway, name, seconds):
    before_memory, before_descriptors = gateway.resident(), gateway.descriptors()
    stop, told = multiprocessing.Event(), multiprocessing.Queue()
    asker = multiprocessing.Process(target=ask, args=(gateway.port, stop, told))
    flood = FLOODS.get(name, [])
    floods = [multiprocessing.Process(target=part, args=(gateway, stop, told)) for part in flood]
    for process in [*floods, asker]:
        process.start()
    peak_memory = peak_descriptors = peak_open = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        peak_memory = max(peak_memory, gateway.resident())
        peak_descriptors = max(peak_descriptors, gateway.descriptors())
        peak_open = max(peak_open, gateway.metric("ucs_gateway_client_connections_open"))
        time.sleep(0.5)
    stop.set()
    # What is in a queue must be taken before its writer can end.
    said = dict(told.get(timeout=60) for _ in [*floods, asker])
    for process in [*floods, asker]:
        process.join()
    left = settle(gateway, before_descriptors)
    times, wrong = said.pop("asker")
    times.sort()
    return {
        "name": name,
        "asked": len(times),
        "wrong": wrong,
        "p50": times[len(times) // 2] * 1e3 if times else float("inf"),
        "p99": times[int(len(times) * 0.99)] * 1e3 if times else float("inf"),
        "max": times[-1] * 1e3 if times else float("inf"),
        "memory": (peak_memory - before_memory) / 2**20,
        "open": peak_open,
        "did": ", ".join(str(value) for value in said.values()),
        **left,
    }


def settle(gateway, descriptors):
    """Waits until all is over, for so long as the longest timeout that can be running, and says what is left."""
    deadline = time.monotonic() + 90
    while True:
        left = {
            "left_open": gateway.metric("ucs_gateway_client_connections_open"),
            "left_in_flight": gateway.metric("ucs_gateway_in_flight{"),
            "left_descriptors": gateway.descriptors() - descriptors,
        }
        # Connections to UCS stay for a while: that is what the pool is for.
        over = left["left_open"] == 0 and left["left_in_flight"] == 0 and left["left_descriptors"] <= 0
        if over or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def judge(row):
    p99, memory, descriptors = BOUNDS.values()
    name, faults = row["name"], []
    if row["wrong"] or not row["asked"]:
        faults.append(f"{name}: {len(row['wrong'])} wrong answers to the ordinary client: {row['wrong'][:3]}")
    if row["p99"] > p99:
        faults.append(f"{name}: p99 was {row['p99']:.1f} ms, allowed are {p99}")
    if row["memory"] > memory:
        faults.append(f"{name}: took {row['memory']:.0f} MiB, allowed are {memory}")
    if row["left_open"] or row["left_in_flight"]:
        faults.append(f"{name}: left {row['left_open']} connections and {row['left_in_flight']} requests in flight")
    if row["left_descriptors"] > descriptors:
        faults.append(f"{name}: left {row['left_descriptors']} descriptors")
    return faults


def ask(port, stop, told):
    """An ordinary client: a hundred requests a second, half of them on a connection that stays, half on new ones."""
    kept, times, wrong = None, [], []
    due = time.monotonic()
    for turn in range(10**9):
        if stop.is_set():
            break
        due += 0.01
        time.sleep(max(0, due - time.monotonic()))
        began = time.monotonic()
        try:
            fresh = turn % 2 == 1 or kept is None
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10) if fresh else kept
            connection.request("GET", f"/profiles/{turn:012}")
            answer = connection.getresponse()
            length = len(answer.read())
            if answer.status != 200 or length != 1024:
                wrong.append(f"status {answer.status}, {length} bytes, {answer.getheader('UCS-Gateway')}")
            if turn % 2 == 1:
                connection.close()
            else:
                kept = connection
        except (OSError, http.client.HTTPException) as error:
            wrong.append(repr(error))
            kept = None
        times.append(time.monotonic() - began)
    told.put(("asker", (times, wrong)))


# The floods: each a list of processes.


class Crowd:
    """Many sockets of one process. `first` is sent when a connection is made, `drip` to each once a second."""

    def __init__(self, port, stop):
        raise_limit()
        self.port, self.stop, self.answers, self.made = port, stop, {}, 0
        # So many may come in a turn, and so long is the pause behind it.
        self.come, self.pause = 200, 0
        self.sockets = selectors.DefaultSelector()

    def run(self, wanted, first, drip=b"", reads=True, buffer=None):
        next_drip = time.monotonic() + 1
        while not self.stop.is_set():
            time.sleep(self.pause)
            for _ in range(self.come):
                if len(self.sockets.get_map()) < wanted:
                    self.connect(first, buffer)
            if reads:
                for key, _ in self.sockets.select(timeout=0.02):
                    self.read(key.fileobj)
            else:
                time.sleep(0.02)
            if drip and time.monotonic() >= next_drip:
                next_drip += 1
                for key in list(self.sockets.get_map().values()):
                    self.send(key.fileobj, drip)
        for key in list(self.sockets.get_map().values()):
            key.fileobj.close()

    def connect(self, first, buffer):
        stream = socket.socket()
        if buffer:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        stream.settimeout(2)
        try:
            stream.connect(("127.0.0.1", self.port))
            stream.sendall(first)
            stream.setblocking(False)
            self.sockets.register(stream, selectors.EVENT_READ)
            self.made += 1
        except OSError:
            stream.close()
            self.count("not connected")

    def send(self, stream, data):
        try:
            stream.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.close(stream, "broken")

    def read(self, stream):
        try:
            data = stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            return self.close(stream, "broken")
        if not data:
            return self.close(stream, "closed")
        if data.startswith(b"HTTP/1.1 "):
            self.count(data[9:12].decode())

    def close(self, stream, why):
        self.sockets.unregister(stream)
        stream.close()
        self.count(why)

    def count(self, what):
        self.answers[what] = self.answers.get(what, 0) + 1

    def summary(self):
        return f"{self.made} connections ({', '.join(f'{n} × {what}' for what, n in sorted(self.answers.items())) or 'no answer'})"


def crowd(name, wanted, first, **how):
    def part(gateway, stop, told):
        people = Crowd(gateway.port, stop)
        people.run(wanted, first, **how)
        told.put((name, people.summary()))

    return part


def new_connections(name):
    def part(gateway, stop, told):
        """Connects, asks once, and goes away without a word, as fast as it can."""
        made = failed = 0
        while not stop.is_set():
            stream = socket.socket()
            stream.settimeout(2)
            try:
                stream.connect(("127.0.0.1", gateway.port))
                if made % 2:
                    stream.sendall(HEAD + b"\r\n")
                    stream.recv(100)
                # Without TIME_WAIT, or the ports run out before the gateway is hurt.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                made += 1
            except OSError:
                failed += 1
            stream.close()
        told.put((name, f"{made} connections ({failed} failed)"))

    return part


def admin_calls(name):
    def part(gateway, stop, told):
        """Operators without patience: 16 event streams that nobody reads, and calls one after the other, some with a wrong
        token. On the admin port, so that ordinary clients must not notice."""
        head = b"Host: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\n"
        right, wrong = (head % (gateway.admin, token) for token in (gateway.token.encode(), b"guess"))
        streams = [socket.create_connection(("127.0.0.1", gateway.admin)) for _ in range(16)]
        for stream in streams:
            stream.sendall(b"GET /mode/events HTTP/1.1\r\n" + right)
        asked = socket.create_connection(("127.0.0.1", gateway.admin))
        calls = [b"GET /mode", b"GET /metrics", b"GET /mode/history", b"GET /routes", b"GET /explain?path=/profiles/1"]
        answered = 0
        while not stop.is_set():
            for call in calls:
                asked.sendall(call + b" HTTP/1.1\r\n" + right)
                read_answer(asked)
            asked.sendall(b"GET /mode HTTP/1.1\r\n" + wrong)
            read_answer(asked)
            answered += len(calls) + 1
        for stream in [*streams, asked]:
            stream.close()
        told.put((name, f"{answered} calls"))

    return part


def read_answer(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        data += stream.recv(65536)
    head, body = data.split(b"\r\n\r\n", 1)
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += stream.recv(65536)


POST = b"POST /profiles HTTP/1.1\r\nHost: ucs.test\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
FLOODS = {
    "slow-heads": [crowd("slow-heads", 2000, HEAD + b"X-Slow: ", drip=b"x")],
    "slow-bodies": [crowd("slow-bodies", 500, POST, drip=b"x")],
    "slow-readers": [crowd("slow-readers", 200, b"GET /profiles/large HTTP/1.1\r\nHost: ucs.test\r\n\r\n", reads=False, buffer=4096)],
    "idle": [crowd("idle", 5000, HEAD + b"\r\n")],
    "silent": [crowd("silent", 5000, b"")],
    "new-connections": [new_connections("one"), new_connections("two")],
    "admin-calls": [admin_calls("one"), admin_calls("two")],
    "unending-heads": [crowd("unending-heads", 200, HEAD + b"X-Long: " + b"x" * 60_000, drip=b"x" * 2000)],
}


# What else is needed.


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def print_row(row):
    print(json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()}), flush=True)


def table(rows):
    yield "| flood | connections | p50 ms | p99 ms | longest ms | memory MiB | left behind |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        left = row["left_open"] + row["left_in_flight"] + max(0, row["left_descriptors"])
        yield (
            f"| {row['name']} | {row['open']:.0f} | {row['p50']:.1f} | {row['p99']:.1f} | {row['max']:.1f} "
            f"| {row['memory']:.1f} | {'nothing' if left == 0 else f'{left:.0f}'} |"
        )


if __name__ == "__main__":
    sys.exit(main())
