"""curl: from a file, at a limited rate if it is slow; in chunks from a pipe. With `http2` over TLS and HTTP/2."""

import subprocess
import sys
import tempfile

from cases import run_all

HTTP2 = sys.argv[1] == "http2"
SCHEME = "https" if HTTP2 else "http"


def ask(address, case):
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--max-time", "60", "-X", "POST"]
    if HTTP2:
        command += ["-k", "--http2"]
    for name, value in case.headers.items():
        command += ["-H", f"{name}: {value}"]
    if not case.expect:
        command += ["-H", "Expect:"]
    if not case.chunked:
        if case.seconds:
            command += ["--limit-rate", str(int(case.size / case.seconds))]
        with tempfile.NamedTemporaryFile() as file:
            file.write(case.body())
            file.flush()
            command += ["--data-binary", f"@{file.name}", f"{SCHEME}://{address}{case.path}"]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            return said(done.stdout, done.stderr)
    if not HTTP2:
        command += ["-H", "Transfer-Encoding: chunked"]
    command += ["-T", "-", f"{SCHEME}://{address}{case.path}"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        for piece in case.pieces():
            child.stdin.write(piece)
            child.stdin.flush()
        child.stdin.close()
    except BrokenPipeError:
        # It has its response and reads no more.
        pass
    child.stdin = None
    out, err = child.communicate()
    return said(out.decode(), err.decode())


def said(output, complaint):
    status, _, version = output.partition(" ")
    if HTTP2 and version != "2":
        return f"lost: {complaint.strip()}, over HTTP/{version}"
    return int(status) if status.isdigit() and status != "000" else f"lost: {complaint.strip()}"


run_all(ask)
