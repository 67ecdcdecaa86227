"""Starts the programs of the campaign on ports that the system chooses: servlet containers, the gateway, HAProxy. Each
is stopped when its `with` block ends. Knows nothing of what is asked of them."""

import contextlib
import http.client
import json
import os
import pathlib
import queue
import socket
import ssl
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 30
DATA = "/profiles /customers /services /interactions"
# Rules as people write them for "no schema writes in production, no data in maintenance", in four styles.
HAPROXY_RULES = {
    "deny by prefix": {
        "production": """
            http-request deny deny_status 503 if { path_beg /metadata } !METH_GET
            http-request deny deny_status 503 if { path /profiles/extensions } METH_POST""",
        "maintenance": f"""
            http-request deny deny_status 503 if {{ path_beg {DATA} }} !{{ path /profiles/extensions }}
            http-request deny deny_status 503 if {{ path_beg {DATA} }} !METH_POST""",
    },
    "deny by regex": {
        "production": """
            http-request deny deny_status 503 if { path_reg ^/metadata(/.*)?$ } !METH_GET
            http-request deny deny_status 503 if { path_reg ^/profiles/extensions/?$ } METH_POST""",
        "maintenance": """
            acl data path_reg ^/(profiles|customers|services|interactions)(/.*)?$
            http-request deny deny_status 503 if data !{ path_reg ^/profiles/extensions/?$ }
            http-request deny deny_status 503 if data !METH_POST""",
    },
    "allow by prefix": {
        "production": f"""
            http-request deny deny_status 503 if {{ path /profiles/extensions }} METH_POST
            http-request deny deny_status 503 unless {{ path_beg {DATA} }} or {{ path_beg /metadata }} METH_GET""",
        "maintenance": """
            acl create path /profiles/extensions
            http-request deny deny_status 503 unless { path_beg /metadata } or create METH_POST""",
    },
}
NORMALIZE = """
            http-request normalize-uri fragment-strip
            http-request normalize-uri percent-to-uppercase strict
            http-request normalize-uri percent-decode-unreserved strict
            http-request normalize-uri path-strip-dot
            http-request normalize-uri path-strip-dotdot full
            http-request normalize-uri path-merge-slashes"""
HAPROXY_RULES["allow by prefix, normalize-uri"] = {
    mode: NORMALIZE + rules for mode, rules in HAPROXY_RULES["allow by prefix"].items()
}
HAPROXY = """
global
    expose-experimental-directives
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend clients
    bind fd@{descriptor}
    default_backend ucs
{rules}
backend ucs
    server ucs 127.0.0.1:{port}
"""


class Failed(Exception):
    """A program that did not start, or did not do what it was asked."""


@contextlib.contextmanager
def running(command, stream, wanted, **options):
    """Runs a program and yields what `wanted` makes of the first line on `stream` that is not None to it."""
    lines, said = queue.Queue(), []
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    process = subprocess.Popen(command, **{**options, stream: subprocess.PIPE})

    def read():
        for line in getattr(process, stream):
            lines.put(line.decode(errors="replace"))
        lines.put(None)
    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                line = lines.get(timeout=START_SECONDS)
            except queue.Empty:
                line = None
            if line is None:
                raise Failed(f"{command[0]} did not get ready:\n{''.join(said[-20:])}")
            said.append(line)
            if (found := wanted(line)) is not None:
                break
        yield found
        if process.poll() is not None:
            raise Failed(f"{command[0]} ended by itself, with {process.returncode}")
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def container(name, lenient):
    """Yields (port, version) of `jetty` or `tomcat`."""
    def ready(line):
        words = line.split(maxsplit=2)
        return (int(words[1]), words[2].strip()) if words[:1] == ["ready"] else None
    with tempfile.TemporaryDirectory(prefix="bypass-") as directory:
        java = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", os.environ[f"BYPASS_{name.upper()}"]]
        own = [directory] if name == "tomcat" else []
        mood = ["lenient"] if lenient else []
        with running([*java, f"{name.title()}Host", *own, *mood], "stdout", ready, cwd=directory) as found:
            yield found


class Gateway:
    """A gateway in front of one container. `trust` is what its clients need to speak TLS; None without."""

    def __init__(self, port, admin, token, trust):
        self.port, self.admin, self.token, self.trust = port, admin, token, trust

    def set_mode(self, mode):
        connection = http.client.HTTPConnection(self.admin, timeout=START_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request("PUT", "/mode", json.dumps({"mode": mode, "reason": "bypass campaign"}), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"PUT /mode {mode}: {answer.status} {text!r}")


@contextlib.contextmanager
def gateway(upstream, options=None):
    """Yields a gateway in production before the container at port `upstream`, with the shipped table; with `options.tls`
    and `options.h2` its clients speak that."""
    def ready(line):
        try:
            fields = json.loads(line)
        except ValueError:
            return None
        return fields if fields.get("message") == "ready" else None
    with tempfile.TemporaryDirectory(prefix="bypass-") as state:
        command = [os.environ["UCS_GATEWAY_BINARY"], "serve", "--routes", str(ROOT / "routes.yaml"),
                   "--upstream", f"http://127.0.0.1:{upstream}", "--listen", "127.0.0.1:0",
                   "--admin-listen", "127.0.0.1:0", "--state-dir", state, "--initial-mode", "production",
                   "--upstream-mode", "off", "--schema-probe", "off", "--log-format", "json", "--workers", "1"]
        trust = None
        if options and options.h2:
            command += ["--h2c"]
        if options and options.tls:
            subprocess.run([command[0], "certificate", "new", "--dir", state], check=True, stdout=subprocess.DEVNULL)
            command += ["--tls-cert", f"{state}/gateway.pem", "--tls-key", f"{state}/gateway.key"]
            trust = ssl.create_default_context(cafile=f"{state}/ca.pem")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("UCS_GATEWAY_")}
        with running(command, "stderr", ready, env=clean) as found:
            token = (pathlib.Path(state) / "admin.token").read_text().strip()
            yield Gateway(int(found["listen"].rpartition(":")[2]), found["admin"], token, trust)


@contextlib.contextmanager
def haproxy(upstream, rules):
    """Yields the port of an HAProxy before the container at port `upstream`. Its socket is made here: it knows no
    port 0."""
    with tempfile.TemporaryDirectory(prefix="bypass-") as directory, socket.create_server(("127.0.0.1", 0)) as listener:
        file = pathlib.Path(directory) / "haproxy.cfg"
        file.write_text(HAPROXY.format(descriptor=listener.fileno(), rules=rules, port=upstream))
        process = subprocess.Popen(["haproxy", "-db", "-f", str(file)], pass_fds=[listener.fileno()],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            yield listener.getsockname()[1]
            if process.poll() is not None:
                raise Failed(f"haproxy ended by itself: {process.stderr.read().decode()}")
        finally:
            process.terminate()
            process.wait()


def haproxy_version():
    first = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    return first.split()[2]
