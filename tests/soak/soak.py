"""The soak itself; see `run`.

UCS is an nginx that answers with the method and path that it got, so that an answer which belongs to another request is
seen. Clients ask for operations of all classes and judge each answer by what can be right at any moment; who flips judges
strictly, as it knows the mode that has settled.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../campaigns"))
import lifecycle  # noqa: E402  the crowds, and the memory of the kernel

GATEWAY = os.environ["UCS_GATEWAY_BIN"]
TABLE = os.path.join(os.path.dirname(__file__), "../../routes.yaml")
PROFILE = [("GET", "/profiles/{}"), ("PUT", "/profiles/{}"), ("DELETE", "/profiles/{}"), ("POST", "/profiles")]
SCHEMA = [("POST", "/metadata/profiles/extensions"), ("DELETE", "/metadata/profiles/extensions/{}")]
REFUSED = {"mode", "switching"}
FAULTS = {"upstream_unreachable", "upstream_broken", "upstream_timeout", "upstream_body_timeout", "upstream_connect_timeout",
          "overload", "cut", "drain_client_timeout"}
CLIENTS = 8
# Memory of the gateway, and that of the kernel for its sockets, may grow by so much from the second quarter of the run to the last
# one, in MiB.
GROWTH = 4
# So many clients of each crowd of the life-cycle campaign, for so long at a time; and cuts a second.
HOSTILE = {"silent-readers": 40, "slow-readers": 40, "slow-uploads": 100, "refused-uploads": 100, "endless-heads": 40,
           "half-closed": 40, "cut-exchanges": 20}
ROUND_SECONDS = 20
# A client waits so many seconds at most: only a busy machine makes one wait for long.
PATIENCE = 120


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=1, help="so much of the usual number of clients")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    folder = tempfile.mkdtemp(prefix="ucs-gateway-soak-")
    os.chmod(folder, 0o755)
    soak = Soak(folder, arguments.pace)
    try:
        soak.start()
        soak.live(arguments.minutes * 60)
        return soak.report()
    finally:
        soak.end()
        shutil.rmtree(folder, ignore_errors=True)


class Soak:
    def __init__(self, folder, pace):
        self.pace = pace
        self.folder, self.port, self.admin, self.ucs = folder, free_port(), free_port(), free_port()
        self.gateway = self.nginx = None
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.counts, self.wrong, self.samples = {}, [], []
        self.cage = lifecycle.Cage()

    # What is started.

    def start(self):
        with open(f"{self.folder}/nginx.conf", "w", encoding="ascii") as file:
            file.write(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
    access_log off; client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
    uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
    server {{ listen 127.0.0.1:{self.ucs} backlog=1024; default_type text/plain;
        location / {{ return 200 "$request_method $uri"; }}
        location = /profiles/large {{ root {self.folder}; try_files /large.bin =500; }} }}
}}
""")
        with open(f"{self.folder}/large.bin", "wb") as file:
            file.write(b"y" * (4 << 20))
        shutil.copy(TABLE, f"{self.folder}/routes.yaml")
        self.start_ucs()
        command = [GATEWAY, "serve", "--routes", f"{self.folder}/routes.yaml", "--upstream", f"http://127.0.0.1:{self.ucs}"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin}"]
        command += ["--state-dir", f"{self.folder}/state", "--initial-mode", "production", "--upstream-mode", "off"]
        command += ["--schema-probe", "off", "--orphan-grace", "200ms", "--first-byte-timeout", "3s", "--log-level", "error"]
        self.gateway = subprocess.Popen(command, preexec_fn=self.cage.enter)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                if self.call("GET", "/readyz", token=False)[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise SystemExit("the gateway did not become ready")

    def start_ucs(self):
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.nginx = subprocess.Popen([nginx, "-e", "stderr", "-c", f"{self.folder}/nginx.conf"], start_new_session=True)

    def stop_ucs(self):
        os.killpg(self.nginx.pid, signal.SIGCONT)
        os.killpg(self.nginx.pid, signal.SIGKILL)
        self.nginx.wait()

    def end(self):
        self.over.set()
        if self.nginx:
            self.stop_ucs()
        if self.gateway:
            self.gateway.kill()
            self.gateway.wait()
        self.cage.remove()

    # What goes on.

    def live(self, seconds):
        stop = multiprocessing.Event()
        crowds = [multiprocessing.Process(target=crowd, args=(name, self.scaled(size), self.port, stop)) for name, size in HOSTILE.items()]
        for process in crowds:
            process.start()
        parts = [self.ask] * self.scaled(CLIENTS) + [self.leave, self.flip, self.reload, self.break_ucs]
        threads = [threading.Thread(target=self.run, args=(part, number)) for number, part in enumerate(parts)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.wrong and self.gateway.poll() is None:
            own, kernel = self.cage.held(self)
            self.samples.append((time.monotonic(), own / 2**20, self.descriptors(), kernel / 2**20))
            time.sleep(min(5, seconds / 40))
        self.over.set()
        stop.set()
        for part in [*threads, *crowds]:
            part.join()

    def scaled(self, size):
        return max(1, round(size * self.pace))

    def run(self, part, number):
        chance = random.Random(f"{part.__name__} {number}")
        while not self.over.is_set():
            try:
                part(chance)
            except (OSError, http.client.HTTPException) as error:
                # Only clients of a gateway that runs; its own port may never fail.
                self.fail(f"{part.__name__}: {error!r}")

    def ask(self, chance):
        """A client that keeps its connection for a while."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for _ in range(chance.randrange(1, 200)):
            if self.over.is_set():
                break
            method, path = chance.choice(PROFILE * 3 + SCHEMA)
            if not self.judge(connection, method, path.format(f"{chance.randrange(16**8):08X}"), chance):
                break
            time.sleep(0.02)
        connection.close()

    def judge(self, connection, method, path, chance):
        """Whether the connection can be used again."""
        body = "x" * chance.choice([0, 10, 3000, 100_000]) if method in ("POST", "PUT") else None
        try:
            connection.request(method, path, body=body)
            answer = connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            # A refused body is not read to its end, and a broken answer is cut: both may show as a broken connection.
            self.count("broken connection")
            return False
        if answer.status == 200:
            self.count("answered")
            if text != f"{method} {path}":
                self.fail(f"{method} {path} was answered with {text!r}")
        else:
            reason = json.loads(text).get("reason") if text else None
            self.count(str(reason))
            if (answer.status, reason) not in {(503, r) for r in REFUSED | {"overload", "cut"}} and reason not in FAULTS:
                self.fail(f"{method} {path}: {answer.status} {text}")
        return not answer.will_close

    def leave(self, chance):
        """A client that goes away in the middle of something."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as stream:
            whole = b"PUT /profiles/1 HTTP/1.1\r\nHost: soak\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
            stream.sendall(whole[: chance.randrange(1, len(whole))])
            if chance.random() < 0.5:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.count("left")
        time.sleep(0.05)

    def flip(self, chance):
        """Sets the mode, and knows what must hold until the next time."""
        mode = chance.choice(["production", "maintenance"])
        timeout = chance.choice(["revert", "cut", "commit"])
        change = {"mode": mode, "drain_timeout": "2s", "on_timeout": timeout}
        status, text = self.call("PUT", "/mode", change)
        self.count(f"flip {status}")
        record = json.loads(self.call("GET", "/mode")[1])
        if record["phase"] != "settled":
            return self.fail(f"after a flip the phase is {record['phase']}: {text}")
        for (method, path), its_mode in [(PROFILE[0], "production"), (SCHEMA[1], "maintenance")]:
            self.strict(method, path.format("STRICT"), record["mode"] == its_mode)
        time.sleep(chance.uniform(0, 2))

    def strict(self, method, path, admitted):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if not admitted:
            if answer.status != 503 or json.loads(text)["reason"] != "mode":
                self.fail(f"the mode forbids {method} {path}, and it was answered with {answer.status} {text}")
        elif answer.status != 200 and json.loads(text)["reason"] not in FAULTS:
            self.fail(f"the mode admits {method} {path}, and it was answered with {answer.status} {text}")

    def reload(self, chance):
        """Good tables and bad ones."""
        time.sleep(chance.uniform(1, 5))
        with open(TABLE, encoding="utf-8") as file:
            text = file.read()
        bad = chance.random() < 0.3
        with open(f"{self.folder}/routes.yaml", "w", encoding="utf-8") as file:
            file.write("routes: [" + text if bad else text + f"# {chance.random()}\n")
        status, answer = self.call("POST", "/routes/reload")
        self.count(f"reload {status}")
        if (bad and status not in (400, 409, 422)) or (not bad and status not in (200, 409)):
            self.fail(f"a {'bad' if bad else 'good'} table was answered with {status} {answer}")

    def break_ucs(self, chance):
        """UCS hangs for a while, or dies and comes back."""
        self.over.wait(chance.uniform(10, 30))
        if self.over.is_set():
            return
        if chance.random() < 0.5:
            os.killpg(self.nginx.pid, signal.SIGSTOP)
            self.over.wait(chance.uniform(0.5, 5))
            os.killpg(self.nginx.pid, signal.SIGCONT)
            self.count("UCS hung")
        else:
            self.stop_ucs()
            self.over.wait(chance.uniform(0, 2))
            self.start_ucs()
            self.count("UCS died")

    # What is known.

    def call(self, method, path, document=None, token=True):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        headers = {"Content-Type": "application/json"}
        if token:
            with open(f"{self.folder}/state/admin.token", encoding="ascii") as file:
                headers["Authorization"] = "Bearer " + file.read().strip()
        connection.request(method, path, json.dumps(document) if document is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def metric(self, name):
        text = self.call("GET", "/metrics")[1]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def resident(self):
        with open(f"/proc/{self.gateway.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.gateway.pid}/fd"))

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def fail(self, why):
        with self.lock:
            self.wrong.append(why)

    def report(self):
        wrong = list(self.wrong)
        if self.gateway.poll() is not None:
            wrong.append(f"the gateway ended with {self.gateway.returncode}")
        else:
            deadline = time.monotonic() + 60
            names = ["ucs_gateway_in_flight{", "ucs_gateway_client_connections_open"]
            while any(self.metric(name) for name in names) and time.monotonic() < deadline:
                time.sleep(0.2)
            wrong += [f"{name} is {self.metric(name)} at the end" for name in names if self.metric(name)]
        quarter = len(self.samples) // 4
        early, late = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        mean = lambda samples, place: sum(sample[place] for sample in samples) / max(1, len(samples))
        if mean(late, 1) - mean(early, 1) > GROWTH:
            wrong.append(f"memory grew from {mean(early, 1):.1f} to {mean(late, 1):.1f} MiB")
        # In a short run a quarter is no more than a part of a crowd's round.
        is_long = self.samples[-1][0] - self.samples[0][0] > 16 * ROUND_SECONDS
        if is_long and mean(late, 3) - mean(early, 3) > GROWTH:
            wrong.append(f"memory of the kernel grew from {mean(early, 3):.1f} to {mean(late, 3):.1f} MiB")
        print(f"{(self.samples[-1][0] - self.samples[0][0]) / 60:.1f} minutes")
        for what, count in sorted(self.counts.items()):
            print(f"  {what}: {count}")
        print(f"resident memory: {mean(early, 1):.1f} MiB in the second quarter, {mean(late, 1):.1f} MiB in the last,"
              f" at most {max(sample[1] for sample in self.samples):.1f}")
        print(f"memory of the kernel: {mean(early, 3):.1f} MiB in the second quarter, {mean(late, 3):.1f} MiB in the last,"
              f" at most {max(sample[3] for sample in self.samples):.1f}; {self.cage.held(self)[1] / 2**20 if self.gateway.poll() is None else 0:.1f} at the end")
        print(f"descriptors: {mean(early, 2):.0f} and {mean(late, 2):.0f}, at most {max(s[2] for s in self.samples)};"
              f" {self.descriptors() if self.gateway.poll() is None else 0} at the end")
        for why in wrong[:20]:
            print("WRONG:", why)
        return 1 if wrong else 0


def crowd(name, size, port, stop):
    """Clients of one kind, which leave after a while and come again."""
    gateway = type("Gateway", (), {"port": port})
    while not stop.is_set():
        over, told = threading.Event(), queue.Queue()
        how = lifecycle.CROWDS[name][1]
        # Few come again at a time: this is an hour of life, not a flood.
        part = lifecycle.cutters(size, how) if name == "cut-exchanges" else lifecycle.crowd(size, how, come=1, pause=0.05)
        clients = threading.Thread(target=part, args=(gateway, over, told))
        clients.start()
        stop.wait(ROUND_SECONDS)
        over.set()
        clients.join()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
