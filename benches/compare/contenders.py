"""Starts and stops what is compared, pinned to its processors, and reads what it used: processor time and resident memory of
all its processes. It decides nothing about the measurement.
"""

import ctypes
import http.client
import os
import resource
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass

import peers

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
PAGE = os.sysconf("SC_PAGE_SIZE")
RUNNING = []  # every child, so that whatever ends this program ends them


@dataclass
class Processors:
    """Which processors the proxies get, and which the load and the upstream."""

    proxy: set
    load: set

    @staticmethod
    def split(workers):
        """The first `workers` for the proxies, the rest for the load; too few are shared by all."""
        every = sorted(os.sched_getaffinity(0))
        rest = set(every[workers:])
        return Processors(set(every[:workers]) if rest else set(every), rest or set(every))


@dataclass
class Contender:
    """One running proxy, or the bare upstream (no process: nothing is accounted)."""

    name: str
    port: int
    process: subprocess.Popen = None
    folder: str = ""
    admin: int = 0
    setting: peers.Setting = None

    def is_tls(self):
        """Whether clients speak TLS to it."""
        return bool(self.setting and self.setting.tls)

    def pids(self):
        """The process and all below it."""
        return tree(self.process.pid) if self.process else []

    def cpu_seconds(self):
        """utime + stime of all its processes: the process clocks, which are those two in nanoseconds."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.pids())

    def resident(self):
        """Resident bytes of all its processes."""
        return sum(int(open(f"/proc/{pid}/statm", encoding="ascii").read().split()[1]) * PAGE for pid in self.pids())

    def get(self, method, path):
        """One request of its own; the status, and how many bytes the answer's body had."""
        if self.is_tls():
            trust = ssl.create_default_context(cafile=f"{self.setting.tls}/ca.pem")
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=5, context=trust)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, path, headers={"Host": "ucs.test:8080"})
            answer = connection.getresponse()
            return answer.status, len(answer.read())
        finally:
            connection.close()

    def stop(self):
        end(self.process)

    def empty_logs(self):
        """So that no round pays for a file that grew in the one before. Returns how many bytes there were."""
        size = 0
        for name in ("access.log", f"{self.name}.out"):
            path = f"{self.folder}/{name}"
            if os.path.exists(path):
                size += os.path.getsize(path)
                os.truncate(path, 0)
        return size


def tree(pid):
    """A process id and those of its descendants."""
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as children:
            for child in children.read().split():
                found += tree(int(child))
    return found


def raise_limit():
    """As many open files as the machine lets us have: 10,000 connections need them on both ends."""
    for wanted in (60_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]):  # the second only where the first is forbidden
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def spawn(command, folder, name, processors, **more):
    """A child that dies with this program, whatever kills it; its output goes to files in its folder."""

    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, processors)

    with open(f"{folder}/{name}.out", "ab") as out, open(f"{folder}/{name}.err", "wb") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=prepare, start_new_session=True, **more
        )
    RUNNING.append(process)
    return process


def end(process):
    """Ends a child and what it started; waits, but not for ever."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_all():
    """Ends every child."""
    for process in RUNNING:
        end(process)
    RUNNING.clear()


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(process, port, name, folder):
    """Waits until the port is open; says what the process said when it is not."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    with open(f"{folder}/{name}.err", encoding="utf-8", errors="replace") as err:
        raise SystemExit(f"{name} did not start: {err.read()[-2000:]}")


def await_ready(admin):
    """Waits until the gateway says that it is ready: its ports are open a moment before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    raise SystemExit("the gateway started, but /readyz did not become 200")


def kind(name):
    """What a contender is: the first word of its name."""
    return name.split("-")[0]


def start(name, setting, programs, processors):
    """Starts one contender with its configuration in `setting.folder`."""
    folder, s, admin = setting.folder, setting, 0
    os.makedirs(folder, exist_ok=True)
    environment = dict(os.environ)
    program = programs.get(name) or programs["haproxy" if name == "floor" else kind(name)]
    if kind(name) in ("haproxy", "floor"):
        text = peers.haproxy_tcp(s) if name == "floor" else peers.haproxy(s)
        command = [program, "-db", "-f", peers.write(folder, "haproxy.cfg", text)]
    elif kind(name) == "nginx":
        config = peers.write(folder, "nginx.conf", peers.nginx(s, "locations" if name == "nginx-locations" else "map"))
        command = [program, "-e", "stderr", "-c", config]
    elif kind(name) == "envoy":
        config = peers.write(folder, "envoy.json", peers.envoy(s))
        command = [program, "-c", config, "--concurrency", str(s.workers), "-l", "error", "--disable-hot-restart"]
    else:
        admin = free_port()
        command = gateway_command(program, s, admin)
        environment = {k: v for k, v in environment.items() if not k.startswith("UCS_GATEWAY_")}
    process = spawn(command, folder, name, processors.proxy, env=environment)
    await_port(process, s.listen, name, folder)
    if admin:
        await_ready(admin)
    return Contender(name, s.listen, process, folder, admin, s)


def gateway_command(program, s, admin):
    """The product with its defaults on; only what speaks to UCS by itself is off, as the upstream is no UCS."""
    scheme = "https" if s.upstream_tls else "http"
    command = [program, "serve", "--routes", f"{s.folder}/../routes.yaml", "--upstream", f"{scheme}://127.0.0.1:{s.upstream}"]
    if s.upstream_tls:
        command += ["--upstream-ca", f"{s.upstream_tls}/ca.pem", "--upstream-server-name", "localhost"]
    if s.tls:
        command += ["--tls-cert", f"{s.tls}/certificate.pem", "--tls-key", f"{s.tls}/key.pem"]
    command += ["--listen", f"127.0.0.1:{s.listen}", "--admin-listen", f"127.0.0.1:{admin}"]
    command += ["--state-dir", f"{s.folder}/state", "--workers", str(s.workers), "--initial-mode", s.mode]
    command += ["--upstream-mode", "off", "--schema-probe", "off"] + (["--access", s.access] if s.access else [])
    return command + (["--access-log", "--log-format", "json"] if s.logged else [])


def start_upstream(programs, folder, processors, certificates):
    """The stand-ins for UCS; returns their ports (1 KB answers, 64 KB answers, 1 KB over TLS)."""
    os.makedirs(folder, exist_ok=True)
    small, large, secure, workers = free_port(), free_port(), free_port(), len(processors.load)
    config = peers.write(folder, "nginx.conf", peers.upstream(folder, workers, large, secure, certificates))
    commands = {
        "small": (small, [programs["upstream"], f"127.0.0.1:{small}", str(workers)]),
        "large": (large, [programs["nginx"], "-e", "stderr", "-c", config]),
    }
    for name, (port, command) in commands.items():
        await_port(spawn(command, folder, name, processors.load), port, name, folder)
    return small, large, secure


def make_certificates(folder):
    """An authority and a certificate for localhost, for each kind of key; returns their folders."""
    kinds = {"p256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["-newkey", "rsa:2048"]}
    for name, key in kinds.items():
        place = f"{folder}/{name}"
        os.makedirs(place)

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

        openssl("req", "-x509", *key, "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "9", "-subj", "/CN=compare")
        openssl("req", *key, "-nodes", "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
        peers.write(place, "names", "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9",
                "-extfile", "names", "-out", "certificate.pem")
        with open(f"{place}/certificate.pem", encoding="ascii") as certificate, open(f"{place}/key.pem", encoding="ascii") as secret:
            peers.write(place, "both.pem", certificate.read() + secret.read())
    return {name: f"{folder}/{name}" for name in kinds}


def busy_share():
    """How much of the machine others use, over a second."""

    def read():
        with open("/proc/stat", encoding="ascii") as file:
            numbers = [int(n) for n in file.readline().split()[1:]]
        return sum(numbers), numbers[3] + numbers[4]

    (total, idle), _ = read(), time.sleep(1)
    later, later_idle = read()
    return 1 - (later_idle - idle) / max(1, later - total)
