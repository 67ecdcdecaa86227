"""Sends requests that are refused with real clients, to the gateway and to nginx, and counts the responses that they lose.

A case is a request: its path, the size of its body, how the body is framed and paced, and whether the client expects 100.
Each client program reads the cases, runs one after the other, and prints `NAME STATUS`, or `NAME lost: WHY`.
"""

import argparse
import concurrent.futures
import functools
import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GATEWAY = os.environ["UCS_GATEWAY_BIN"]
TABLE = os.path.join(HERE, "../../routes.yaml")
KIB, MIB = 1 << 10, 1 << 20

# Name, method and path, expected status of the gateway; all others are refused by the mode.
REFUSALS = [
    ("mode", "/metadata/profiles/extensions", 503),
    ("unmatched", "/nowhere", 404),
    ("path", "/profiles/x;y", 400),
    ("unauthorized", "/server/mode", 401),
    ("too_large", "/profiles", 413),
    ("unreachable", "/profiles", 502),
]


# They wait for room that nginx never gives them.
NOT_WITH_NGINX = {"Python httpx, HTTP/2", "Java java.net.http, HTTP/2"}


def cases(full):
    """Name, path, status, bytes, seconds, framing, expect."""
    bodies = [(100 * KIB, 0), (4 * MIB, 0), (40 * KIB, 1)]
    if full:
        bodies += [(MIB, 0), (32 * MIB, 0), (40 * KIB, 3), (MIB, 3)]
    for reason, path, status in REFUSALS:
        for size, seconds in bodies:
            if reason == "too_large":
                size = max(size, 2 * MIB)
            if reason == "unreachable":
                size = min(size, MIB - 1)
            # The pace shows with one reason as with another.
            if seconds and reason not in ("mode", "unauthorized"):
                continue
            # In chunks, a body is not too large before UCS is needed, which is not there.
            for framing in ("length",) if reason == "too_large" else ("length", "chunked"):
                for expect in (0, 1) if reason == "mode" else (0,):
                    name = f"{reason}/{size}/{seconds}s/{framing}{'/expect' if expect else ''}"
                    yield name, path, status, size, seconds, framing, expect


def clients(folder):
    """Name, command."""
    python, java = sys.executable, ["java", "-cp", f"{folder}:/usr/share/java/*"]
    found = [
        ("Python http.client", [python, f"{HERE}/clients/http_client.py"]),
        ("Python requests", [python, f"{HERE}/clients/requests_client.py"]),
        ("Python aiohttp", [python, f"{HERE}/clients/aiohttp_client.py"]),
        ("curl", [python, f"{HERE}/clients/curl.py"]),
        ("Node http", ["node", f"{HERE}/clients/node.mjs", "http"]),
        ("Node fetch", ["node", f"{HERE}/clients/node.mjs", "fetch"]),
        ("Java HttpURLConnection", [*java, "Client", "url"]),
        ("Java java.net.http", [*java, "Client", "net"]),
        ("Apache HttpClient 4", [*java, "Apache"]),
        # Over TLS and HTTP/2.
        ("curl, HTTP/2", [python, f"{HERE}/clients/curl.py", "http2"]),
        ("Python httpx, HTTP/2", [python, f"{HERE}/clients/httpx_client.py"]),
        ("Node http2, HTTP/2", ["node", f"{HERE}/clients/node.mjs", "http2"]),
        ("Java java.net.http, HTTP/2", [*java, "Client", "net2"]),
    ]
    compiled = {}
    for source in ("Client", "Apache"):
        command = ["javac", "-cp", f"{folder}:/usr/share/java/*", "-d", folder, f"{HERE}/clients/{source}.java"]
        done = subprocess.run(command, check=False, capture_output=True, text=True) if shutil.which("javac") else None
        compiled[source] = done is not None and done.returncode == 0
        if done is not None and done.returncode:
            print(done.stderr[:400], file=sys.stderr)
    for name, command in found:
        is_there = shutil.which(command[0]) and (command[0] != "java" or compiled[command[3]])
        is_there = is_there and subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 0
        if is_there:
            yield name, command
        elif os.environ.get("CI") == "true":
            raise SystemExit(f"tests/refusals/run: {name} is needed")
        else:
            print(f"tests/refusals/run: skipped, as it cannot run here: {name}", file=sys.stderr)


def run(command, port, chosen):
    """The lost responses: name, why."""
    lines = "".join(" ".join(map(str, case)) + "\n" for case in chosen)
    began = time.monotonic()
    try:
        done = subprocess.run([*command, f"127.0.0.1:{port}"], check=False, input=lines, capture_output=True, text=True, timeout=900)
        said, complained = done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        said, complained = (late.stdout or b"").decode(), "it never ended"
    told = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    print(f"{command[-1]} {command[-2][-30:]} :{port}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    lost = []
    for name, _, status, *_ in chosen:
        said = told.get(name, "nothing was said: " + complained.strip()[-200:])
        if said != str(status):
            lost.append((name, said))
    return lost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="a part of a client's name")
    parser.add_argument("--full", action="store_true", default=os.environ.get("UCS_GATEWAY_FULL") == "1")
    arguments = parser.parse_args()
    folder, children = tempfile.mkdtemp(prefix="refusals-"), []
    os.chmod(folder, 0o755)
    try:
        certificate = make_certificate(folder)
        gateways = {False: start_gateway(folder, children), True: start_gateway(folder, children, certificate)}
        nginxes = {False: start_nginx(folder, children), True: start_nginx(folder, children, certificate)}
        chosen = list(cases(arguments.full)) * (3 if arguments.full else 1)
        # All reasons are refused by the same code over HTTP/2.
        for_http2 = chosen if arguments.full else [case for case in chosen if case[0].startswith("mode/")]
        known = [client for client in clients(folder) if arguments.only in client[0]]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            running = []
            for name, command in known:
                is_http2 = "HTTP/2" in name
                asked = for_http2 if is_http2 else chosen
                # nginx refuses all of them alike.
                alike = [(case, path, 503, *rest) for case, path, _, *rest in asked]
                our = pool.submit(run, command, gateways[is_http2], asked)
                their = None if name in NOT_WITH_NGINX else pool.submit(run, command, nginxes[is_http2], alike)
                running.append((name, len(asked), our, their))
            rows = [(name, count, our.result(), their and len(their.result())) for name, count, our, their in running]
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)
    print("| client | requests | lost, gateway | lost, nginx |\n|---|---|---|---|")
    for name, count, our, their in rows:
        print(f"| {name} | {count} | {len(our)} | {'–' if their is None else their} |")
    for name, _, our, _ in rows:
        for case, why in our:
            print(f"LOST: {name}: {case}: {why}")
    return 1 if any(our for _, _, our, _ in rows) else 0


def make_certificate(folder):
    """Certificate and key for TLS."""
    subprocess.run([GATEWAY, "certificate", "new", "--dir", folder], check=True, stdout=subprocess.DEVNULL)
    return f"{folder}/gateway.pem", f"{folder}/gateway.key"


def start_gateway(folder, children, certificate=None):
    folder = tempfile.mkdtemp(dir=folder)
    state = f"{folder}/state"
    command = [GATEWAY, "serve", "--routes", TABLE, "--upstream", "http://127.0.0.1:9", "--state-dir", state]
    command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--initial-mode", "production"]
    command += ["--upstream-mode", "off", "--schema-probe", "off", "--max-body", "1MiB", "--log-format", "json"]
    if certificate:
        command += ["--tls-cert", certificate[0], "--tls-key", certificate[1]]
    with open(f"{folder}/log", "w", encoding="utf-8") as log:
        children.append(subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL))
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        with open(f"{folder}/log", encoding="utf-8") as log:
            for line in log:
                if '"ready"' in line:
                    return int(json.loads(line)["listen"].rsplit(":", 1)[1])
        time.sleep(0.05)
    raise SystemExit("the gateway did not become ready")


def start_nginx(folder, children, certificate=None):
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    folder = tempfile.mkdtemp(dir=folder)
    os.chmod(folder, 0o755)
    kind, tls, connect = "", "", http.client.HTTPConnection
    if certificate:
        kind, tls = " ssl http2", f"ssl_certificate {certificate[0]}; ssl_certificate_key {certificate[1]};"
        connect = functools.partial(http.client.HTTPSConnection, context=ssl._create_unverified_context())
    for port in range(20_000 + os.getpid() % 10_000, 40_000):
        config = f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{ listen 127.0.0.1:{port}{kind}; {tls} location / {{ return 503; }} }}
}}
"""
        with open(f"{folder}/nginx.conf", "w", encoding="ascii") as file:
            file.write(config)
        child = subprocess.Popen([nginx, "-e", "stderr", "-c", f"{folder}/nginx.conf"], stderr=subprocess.DEVNULL)
        while child.poll() is None:
            try:
                connection = connect("127.0.0.1", port, timeout=5)
                connection.request("GET", "/")
                if connection.getresponse().getheader("Server", "").startswith("nginx"):
                    children.append(child)
                    return port
                break
            except OSError:
                time.sleep(0.05)
        child.terminate()
        child.wait()
    raise SystemExit("nginx did not start")


if __name__ == "__main__":
    sys.exit(main())
