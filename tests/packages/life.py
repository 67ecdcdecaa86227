"""The life of the packages on one machine, and what the container file copies in a root of its own. Called by tests/packages/run
inside a copy of the machine's files, as root; it changes what it finds.

    life.py FOLDER-OF-PACKAGES REPOSITORY PROGRAM
"""

import glob
import http.server
import json
import os
import pathlib
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

PACKAGES, REPOSITORY, PROGRAM = sys.argv[1:]
STATE = pathlib.Path("/var/lib/ucs-gateway")
ETC = pathlib.Path("/etc/ucs-gateway")
UNIT = "ucs-gateway.service"
PATIENCE = 40
os.environ["DEBIAN_FRONTEND"] = "noninteractive"


def main():
    upstream = Ucs()
    started = time.monotonic()
    first, second = sorted(glob.glob(f"{PACKAGES}/*.deb"))
    the_readme_installs_and_flips(first, upstream)
    told("the README leads from the package to a flip and back", started)
    with open(ETC / "environment", "a") as settings:
        settings.write("# The many stops of this test.\nUCS_GATEWAY_STOP_LINGER=0s\n")
    run("systemctl", "restart", "ucs-gateway")
    the_package_is_whole()
    the_mode_is_enforced(upstream)
    an_upgrade_keeps_the_mode_and_the_settings(second)
    with_sockets_an_upgrade_refuses_no_connection(second)
    a_table_that_the_new_program_refuses_stops_no_gateway(second)
    the_state_outlives_a_removal(second)
    a_purge_leaves_the_user_alone()
    [rpm] = glob.glob(f"{PACKAGES}/*.rpm")
    if shutil.which("rpm"):
        the_rpm_lists_what_the_debian_package_has(rpm, first)
        the_rpm_lives_as_well(rpm, upstream)
    else:
        print("no rpm here: the RPM was not looked at")
    the_files_of_the_container_run_alone(upstream)


# The Debian package.


def the_readme_installs_and_flips(deb, upstream):
    section = pathlib.Path(f"{REPOSITORY}/README.md").read_text().split("\n## Install\n")[1].split("\n## ")[0]
    commands = section.split("```sh\n")[1].split("```")[0]
    before = commands
    for printed, here in [(r"\./ucs-gateway_\S+\.deb", deb), (r"http://ucs\.example:8080", upstream.url)]:
        commands, count = re.subn(printed, here, commands)
        expect(count == 1, f"the README does not name {printed}:\n{before}")
    printed = run("bash", "-e", "-c", commands)
    expect(upstream.modes == ["maintenance", "production"], f"{upstream.modes}\n{printed}")


def the_package_is_whole():
    expect(run("ucs-gateway", "--version").startswith("ucs-gateway 0."), "the program does not name its version")
    user = pwd.getpwnam("ucs-gateway")
    expect(user.pw_uid != 0 and user.pw_shell.endswith("nologin"), f"{user} can log in")
    kept = run("dpkg-query", "-W", "-f", "${Conffiles}", "ucs-gateway").split()[::2]
    expect(sorted(kept) == [str(ETC / "environment"), str(ETC / "routes.yaml")], f"configuration files: {kept}")
    run("bash", "-n", "/usr/share/bash-completion/completions/ucs-gateway")
    run("gzip", "-t", "/usr/share/man/man1/ucs-gateway-mode-set.1.gz")
    for name in ["doc/ucs-gateway/operations.md", "doc/ucs-gateway/copyright", "ucs-gateway/routes/9.1.yaml"]:
        expect(os.path.exists(f"/usr/share/{name}"), f"/usr/share/{name} is missing")
    [schema] = re.findall(r"\$schema=(\S+)", (ETC / "routes.yaml").read_text())
    expect(os.path.exists(ETC / schema), f"routes.yaml names a schema that is not there: {schema}")
    # Its dependencies are the C library alone, so no other library may be needed.
    libraries = re.findall(r"Shared library: \[(.*)\]", run("readelf", "--dynamic", "/usr/bin/ucs-gateway"))
    foreign = [name for name in libraries if not re.match(r"(libc|libm|libgcc_s|ld-linux-.*)\.so", name)]
    expect(not foreign, f"the package does not depend on {foreign}")
    stat = STATE.stat()
    expect(stat.st_mode & 0o777 == 0o700 and stat.st_uid == user.pw_uid, f"{STATE}: {stat}")
    told("the package is whole")


def the_mode_is_enforced(upstream):
    expect(status(8081, "/livez") == 200, "it is not live")
    expect(status(8080, "/profiles/1") == 200, "profiles are not open in production")
    mode("set", "maintenance")
    expect(status(8080, "/profiles/1") == 503 and upstream.mode == "maintenance", "profiles are open in maintenance")
    told("the service enforces the mode")


def an_upgrade_keeps_the_mode_and_the_settings(deb):
    mode("set", "maintenance", "--reason", "the upgrade")
    before, process, settings = record(), running(), (ETC / "environment").read_text()
    run("dpkg", "--force-confold", "-i", deb)
    expect(running() not in (None, process), "the upgrade did not put the new program in the place of the old one")
    expect((ETC / "environment").read_text() == settings, "the upgrade has changed the settings")
    kept = ("mode", "revision", "reason", "phase")
    expect([before[name] for name in kept] == [record()[name] for name in kept], f"{before} became {record()}")
    told("an upgrade over a running gateway keeps its mode")


def with_sockets_an_upgrade_refuses_no_connection(deb):
    settings = (ETC / "environment").read_text()
    (ETC / "environment").write_text(settings.replace("UCS_GATEWAY_STOP_LINGER=0s", ""))
    sockets = ["ucs-gateway.socket", "ucs-gateway-admin.socket"]
    run("systemctl", "stop", "ucs-gateway")
    run("systemctl", "enable", "--now", *sockets)
    run("systemctl", "start", "ucs-gateway")
    process, seen, is_over = running(), [], threading.Event()

    def clients():
        while not is_over.is_set():
            seen.append((status(8080, "/profiles/1"), status(8081, "/livez")))

    client = threading.Thread(target=clients)
    client.start()
    run("dpkg", "--force-confold", "-i", deb)
    is_over.set()
    client.join()
    expect(running() not in (None, process), "the upgrade did not put the new program in the place of the old one")
    expect(set(seen) == {(503, 200)}, f"data port and /livez during the upgrade: {set(seen)} of {len(seen)}")
    run("systemctl", "stop", "ucs-gateway")
    run("systemctl", "disable", "--now", *sockets)
    (ETC / "environment").write_text(settings)
    run("systemctl", "start", "ucs-gateway")
    told(f"with the sockets an upgrade refuses none of {2 * len(seen)} connections")


def a_table_that_the_new_program_refuses_stops_no_gateway(deb):
    table, settings, process = (ETC / "routes.yaml").read_text(), (ETC / "environment").read_text(), running()
    faulty = table + "nonsense: true\n"
    (ETC / "routes.yaml").write_text(faulty)
    run("dpkg", "--force-confold", "-i", deb)
    expect(running() == process and status(8081, "/livez") == 200, "the old gateway was stopped for a table with a fault")
    (ETC / "routes.yaml").write_text(table)
    # The same for a table in another place.
    (ETC / "site.yaml").write_text(faulty)
    (ETC / "environment").write_text(f"{settings}UCS_GATEWAY_ROUTES={ETC}/site.yaml\n")
    run("dpkg", "--force-confold", "-i", deb)
    expect(running() == process, "the old gateway was stopped for a table of the site with a fault")
    (ETC / "site.yaml").write_text(table)
    run("dpkg", "--force-confold", "-i", deb)
    expect(running() not in (None, process), "an upgrade was not put in force for a good table of the site")
    (ETC / "environment").write_text(settings)
    (ETC / "site.yaml").unlink()
    run("systemctl", "restart", "ucs-gateway")
    told("a table with a fault does not stop the gateway in an upgrade")


def the_state_outlives_a_removal(deb):
    before = record()
    run("dpkg", "-r", "ucs-gateway")
    expect(not running() and not os.path.exists("/usr/bin/ucs-gateway"), "the removal has left the gateway")
    expect(not glob.glob("/etc/systemd/system/*/ucs-gateway*"), "the removal has left the unit enabled")
    expect((STATE / "mode.json").exists() and (ETC / "environment").exists(), "the removal has taken the state")
    run("dpkg", "--force-confold", "-i", deb)
    expect(not running(), "the installation has started a gateway that may not know its UCS")
    run("systemctl", "start", "ucs-gateway")
    expect(record()["revision"] == before["revision"] and record()["mode"] == "maintenance", f"{before} became {record()}")
    told("the mode outlives a removal and a new installation")


def a_purge_leaves_the_user_alone():
    run("dpkg", "-P", "ucs-gateway")
    left = [str(path) for path in (STATE, ETC / "environment", ETC / "routes.yaml") if path.exists()]
    expect(not running() and not left, f"the purge has left {left}")
    # The files of a backup may still be its own.
    pwd.getpwnam("ucs-gateway")
    told("a purge takes the state and the settings")


# The RPM.


def the_rpm_lists_what_the_debian_package_has(rpm, deb):
    listed = set(run("rpm", "-qpl", rpm).split())
    packed = {line.split(maxsplit=5)[5].lstrip(".") for line in run("dpkg-deb", "-c", deb).splitlines() if line[0] == "-"}
    packed = {path if path.startswith("/") else f"/{path}" for path in packed}
    # Each has names of its own for these.
    renamed = [("/zsh/vendor-completions/", "/zsh/site-functions/"), (".1.gz", ".1"), ("/etc/ucs-gateway/", "/usr/share/ucs-gateway/"),
               ("/doc/ucs-gateway/copyright", "/licenses/ucs-gateway/LICENSE")]
    for old, new in renamed:
        packed = {path.replace(old, new) for path in packed}
    expect(packed == listed, f"only in the Debian package: {packed - listed}; only in the RPM: {listed - packed}")
    scripts = run("rpm", "-qp", "--scripts", rpm)
    for name in ["pre", "post", "preun", "postun"]:
        text = pathlib.Path(f"{REPOSITORY}/deploy/packages/rpm/{name}").read_text().strip()
        expect(text in scripts, f"the script {name} is not in the RPM")
    told("the RPM has the files of the Debian package, and its scripts")


def the_rpm_lives_as_well(rpm, upstream):
    # What it depends on is named as on the systems of RPM.
    run("rpm", "-i", "--nodeps", rpm)
    expect(not running(), "the RPM has started the gateway")
    settings = ETC / "environment"
    settings.write_text(settings.read_text().replace("http://127.0.0.1:8090", upstream.url) + "UCS_GATEWAY_STOP_LINGER=0s\n")
    run("systemctl", "start", "ucs-gateway")
    mode("set", "maintenance", "--reason", "the RPM")
    process = running()
    run("rpm", "-U", "--nodeps", "--force", rpm)
    expect(running() and upstream.url in settings.read_text(), "an upgrade of the RPM has taken the settings")
    expect(record()["mode"] == "maintenance", "an upgrade of the RPM has lost the mode")
    run("rpm", "-e", "ucs-gateway")
    expect(not running() and not os.path.exists("/usr/bin/ucs-gateway"), f"the RPM has left {process}")
    expect((STATE / "mode.json").exists(), "the removal of the RPM has taken the state")
    shutil.rmtree(STATE)
    told("the RPM is installed, upgraded and removed")


# The container.


def the_files_of_the_container_run_alone(upstream):
    file = pathlib.Path(f"{REPOSITORY}/deploy/container/Dockerfile").read_text().replace("\\\n", " ")
    last = file[file.rindex("\nFROM "):]
    words = lambda keyword: [shlex.split(line[len(keyword):]) for line in last.splitlines() if line.startswith(f"{keyword} ")]
    upstream.mode = "production"
    root = pathlib.Path("/run/container")
    root.mkdir()
    library_files(root)
    for *options, source, target in words("COPY"):
        expect("--from=build" in options, f"COPY {source} is not from the first stage")
        copy(source, root / target.lstrip("/"), options)
    environment = dict(pair.split("=", 1) for line in words("ENV") for pair in line)
    environment |= {"UCS_GATEWAY_UPSTREAM": f"http://ucs.example:{upstream.port}", "UCS_GATEWAY_LISTEN": "127.0.0.1:9080",
                    "UCS_GATEWAY_ADMIN_LISTEN": "127.0.0.1:9081"}
    [[user]] = words("USER")
    arguments = [word for keyword in ("ENTRYPOINT", "CMD") for word in json.loads(re.search(f"\n{keyword} (.*)", last)[1])]
    expect(user.split(":")[0] not in ("0", "root"), "the container runs as root")
    names = name_server("ucs.example")
    confine(root, environment["UCS_GATEWAY_STATE_DIR"])
    process = subprocess.Popen(
        ["/usr/sbin/chroot", f"--userspec={user}", root, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=open("/run/container.log", "wb"))
    eventually(lambda: status(9081, "/livez") == 200, "the container's gateway does not live")
    expect(status(9080, "/profiles/1") == 200, "the container's gateway does not find UCS by its name")
    expect(names, "the name was not asked for")
    process.send_signal(signal.SIGTERM)
    expect(process.wait(PATIENCE) == 0, "the container's gateway did not stop in order")
    told("the files of the container run alone: read-only, not as root, UCS by its name")


def library_files(root):
    """What the image below has: the C library, and how names are resolved."""
    for path in set(re.findall(r"(/\S+\.so\S*)", run("ldd", PROGRAM))):
        copied = root / path.lstrip("/")
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    (root / "etc").mkdir()
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")


def copy(source, target, options):
    target.parent.mkdir(parents=True, exist_ok=True)
    if source == "/state":
        [owner] = [option.split("=")[1] for option in options if option.startswith("--chown=")]
        target.mkdir(mode=0o700)
        os.chown(target, *map(int, owner.split(":")))
    elif source.endswith("/ucs-gateway"):
        shutil.copy(PROGRAM, target)
    else:
        shutil.copy(f"{REPOSITORY}/{source.removeprefix('/build/')}", target)


def confine(root, state):
    """A root that cannot be written, but for the volume."""
    run("mount", "--bind", root, root)
    volume = pathlib.Path(f"{root}{state}")
    owner = volume.stat()
    run("mount", "-o", "remount,bind,ro", root)
    run("mount", "-t", "tmpfs", "-o", f"mode=0700,uid={owner.st_uid},gid={owner.st_gid}", "tmpfs", volume)
    expect(subprocess.run(["touch", root / "written"], capture_output=True).returncode != 0, "the root can be written")


# What the tests look with.


def name_server(name):
    """A name server that knows one name; the list that it returns grows with each question for it."""
    asked = []
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def respond():
        while True:
            query, client = server.recvfrom(512)
            known, is_address = question in query, query[12 + len(question):][:2] == b"\0\1"
            if known:
                asked.append(query)
            # RFC 1035: the same id and question; no error or no such name; a pointer to the name, A, IN, 60 s, four bytes.
            flags = b"\x85\x80" if known else b"\x85\x83"
            end = query.index(b"\0", 12) + 5
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if known and is_address else b""
            counts = b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0"
            server.sendto(query[:2] + flags + counts + query[12:end] + answer, client)

    threading.Thread(target=respond, daemon=True).start()
    return asked


class Ucs(http.server.BaseHTTPRequestHandler):
    """A UCS with a mode that responds to everything; an instance is the server."""

    def __new__(cls):
        handler = type("Handler", (http.server.BaseHTTPRequestHandler,), dict(vars(cls), __new__=object.__new__))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.mode, server.modes, server.port = "production", [], server.server_port
        server.url = f"http://127.0.0.1:{server.port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        document = {"mode": self.server.mode, "started": "2026-01-01"} if self.path == "/server/status" else [{"name": "Default"}]
        self.respond(document)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.mode = body["mode"]
        self.server.modes.append(body["mode"])
        self.respond({"server changed": self.server.mode})

    def respond(self, document):
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(*command):
    """The output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        fail(f"{shlex.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def mode(*arguments):
    return run("ucs-gateway", "mode", *arguments, "--state-dir", STATE)


def record():
    return json.loads(mode("get", "--json"))


def running():
    """The number of the service's process."""
    if subprocess.run(["systemctl", "is-active", "--quiet", UNIT], capture_output=True).returncode != 0:
        return None
    return int(pathlib.Path(f"/run/stand-in/{UNIT}").read_text())


def status(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def eventually(is_so, fault):
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            fail(fault)
        time.sleep(0.05)


def expect(is_so, fault):
    if not is_so:
        fail(fault)


def fail(fault):
    print(f"tests/packages/run: {fault}", file=sys.stderr)
    for log in [*glob.glob("/var/log/ucs-gateway*.log"), "/run/container.log"]:
        if os.path.exists(log):
            print(f"-- {log}\n{pathlib.Path(log).read_text()[-4000:]}", file=sys.stderr)
    sys.exit(1)


def told(what, since=None):
    print(f"ok  {what}" + (f": {time.monotonic() - since:.1f} s" if since else ""))


main()
