"""Crowds of clients in every stage of a connection's life, against a gateway under the memory limit of its pod. See `run`.

A crowd has a limit of the gateway as its measure N; it is run with N, N + 1 and 10 N clients (--full), or with a few hundred. While
it lasts, an ordinary client asks a hundred times a second. Afterwards the crowd's sockets stay open until the gateway has given
them up, or are closed at once; either way the kernel must hold nothing for the gateway 5 s later.
"""

import argparse
import contextlib
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../flood"))
import floods  # noqa: E402  the ordinary client, the gateway, the crowds
import http2  # noqa: E402  beside this file

MIB = 1 << 20
# The limit of deploy/kubernetes, for the gateway and for what the kernel holds for it.
POD = 256 * MIB
KERNEL_SECONDS = 5
# What the idle connections to UCS and those of the ordinary client may hold.
KERNEL_REST = 256 << 10
P99_MS = 250
FLAGS = ["--h2c"]
SHORT_FLAGS = ["--idle-body-timeout", "3s", "--header-timeout", "3s"]

LARGE = b"GET /profiles/large HTTP/1.1\r\nHost: ucs.test\r\n\r\n"
UPLOAD = b"POST /profiles HTTP/1.1\r\nHost: ucs.test\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{"
REFUSED = UPLOAD.replace(b"/profiles", b"/nowhere")
HEAD = floods.HEAD


def upload_cut(stream, turn):
    stream.sendall(UPLOAD + b"x" * (1000 * (turn % 200)))


def download_cut(stream, turn):
    stream.sendall(LARGE)
    stream.recv(1 + 50_000 * (turn % 3))


def head_cut(stream, turn):
    stream.sendall(HEAD[: 1 + turn % len(HEAD)])


def streams_cut(stream, turn):
    stream.sendall(http2.uploads(b"/profiles") + http2.pieces(1000 * (turn % 20)))


def streams_cut_reading(stream, turn):
    stream.sendall(http2.requests(b"/profiles/large"))
    stream.recv(1 + 50_000 * (turn % 3))


def streams_reset(stream, turn):
    """The streams first, and then the connection."""
    [streams_cut, streams_cut_reading][turn % 2](stream, turn)
    stream.sendall(http2.resets())


# Name: the limit that is its measure, and how its clients behave. Over HTTP/2 a client has several streams.
CROWDS = {
    "silent-readers": ("upstream_connections", dict(first=LARGE, reads=False)),
    "slow-readers": ("upstream_connections", dict(first=LARGE, reads=False, buffer=4096, sips=600)),
    "slow-uploads": ("upstream_connections", dict(first=UPLOAD, drip=b"x" * 600)),
    "refused-uploads": ("upstream_connections", dict(first=REFUSED, drip=b"x" * 600)),
    "endless-heads": ("heads", dict(first=HEAD + b"X-Long: " + b"x" * 60_000, drip=b"x" * 100)),
    "half-closed": ("upstream_connections", dict(first=HEAD + b"\r\n", half_closes=True)),
    "cut-exchanges": ("cuts", dict(cut=[upload_cut, download_cut, head_cut])),
    "h2-silent-readers": ("streams", dict(first=http2.requests(b"/profiles/large"), reads=False)),
    "h2-closed-windows": ("streams", dict(first=http2.requests(b"/profiles/large", window=0))),
    "h2-slow-readers": ("streams", dict(first=http2.requests(b"/profiles/large"), reads=False, buffer=4096, sips=600)),
    "h2-slow-uploads": ("streams", dict(first=http2.uploads(b"/profiles"), drip=http2.pieces(600))),
    "h2-refused-uploads": ("streams", dict(first=http2.uploads(b"/nowhere"), drip=http2.pieces(600))),
    "h2-endless-heads": ("heads", dict(first=http2.endless_head(), drip=http2.more_of_head(100))),
    "h2-cut-exchanges": ("cuts", dict(cut=[streams_cut, streams_cut_reading, streams_reset])),
}


class LifeCrowd(floods.Crowd):
    """A crowd whose clients may read a sip each second, half-close, or leave in the middle."""

    def run_life(self, wanted, first, drip=b"", reads=True, buffer=None, sips=0, half_closes=False):
        self.half_closes = half_closes
        self.sips = sips
        if sips:
            self.drips = True
        self.run(wanted, first, drip=drip or (b"" if not sips else b"\0"), reads=reads, buffer=buffer)

    def connect(self, first, buffer):
        super().connect(first, buffer)
        if self.half_closes:
            newest = list(self.sockets.get_map().values())[-1:]
            for key in newest:
                key.fileobj.shutdown(socket.SHUT_WR)

    def send(self, stream, data):
        if not self.sips:
            return super().send(stream, data)
        try:
            if not stream.recv(self.sips):
                self.close(stream, "closed")
        except BlockingIOError:
            pass
        except OSError:
            self.close(stream, "broken")


def crowd(wanted, how, come=200, pause=0):
    def part(gateway, stop, told):
        people = LifeCrowd(gateway.port, stop)
        people.come, people.pause = come, pause
        people.run_life(wanted, **how)
        told.put(("crowd", people.summary()))

    return part


def cutters(wanted, how):
    def part(gateway, stop, told):
        """Goes away by a reset in the middle of something, `wanted` times a second."""
        made, pause = 0, 1 / wanted
        while not stop.is_set():
            stream = socket.socket()
            stream.settimeout(2)
            try:
                stream.connect(("127.0.0.1", gateway.port))
                how["cut"][made % len(how["cut"])](stream, made)
            except OSError:
                pass
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            stream.close()
            made += 1
            time.sleep(pause)
        told.put(("crowd", f"{made} cuts"))

    return part


def kernel_bytes(port):
    """What the kernel holds in the buffers of the gateway's sockets for clients; also of those that nobody owns any more."""
    held = 0
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in list(file)[1:]]
        except OSError:
            continue
        for row in rows:
            if int(row[1].rsplit(":", 1)[1], 16) == port and row[3] != "0A":
                sent, received = row[4].split(":")
                held += int(sent, 16) + int(received, 16)
    return held


class Cage:
    """The memory limit of the pod, for the gateway's own memory and for what the kernel holds for its sockets. A memory cgroup
    where one may be made (version 1 counts sockets apart), else the gateway's data alone, and the sockets' queues as they are."""

    def __init__(self):
        self.folder, self.version = None, 0
        for version, root, marker in ((2, "/sys/fs/cgroup", "cgroup.controllers"), (1, "/sys/fs/cgroup/memory", "memory.kmem.tcp.usage_in_bytes")):
            folder = f"{root}/ucs-gateway-campaign-{os.getpid()}"
            if not os.path.exists(f"{root}/{marker}"):
                continue
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                self.folder, self.version = folder, version
                for name in ("memory.max",) if version == 2 else ("memory.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"):
                    self.write(name, POD)
                return
            self.remove()

    def write(self, name, value):
        with open(f"{self.folder}/{name}", "w", encoding="ascii") as file:
            file.write(str(value))

    def read(self, name, field=None):
        with open(f"{self.folder}/{name}", encoding="ascii") as file:
            if field is None:
                return int(file.read())
            return next(int(line.split()[1]) for line in file if line.split()[0] == field)

    def enter(self):
        """In the gateway's process, before it runs."""
        if self.folder:
            self.write("cgroup.procs", os.getpid())
        else:
            # Not its address space: glibc reserves 64 MiB of that for each thread.
            resource.setrlimit(resource.RLIMIT_DATA, (POD, POD))

    def held(self, gateway):
        """Bytes of the gateway, and of the kernel for all its sockets, those to UCS included."""
        if self.version == 2:
            return self.read("memory.stat", "anon"), self.read("memory.stat", "sock")
        if self.version == 1:
            return self.read("memory.stat", "total_rss"), self.read("memory.kmem.tcp.usage_in_bytes")
        return gateway.resident(), kernel_bytes(gateway.port)

    def remove(self):
        if self.folder:
            with contextlib.suppress(OSError):
                os.rmdir(self.folder)
            self.folder, self.version = None, 0


def measure(gateway, cage, name, size, seconds):
    limit, how = CROWDS[name]
    part = cutters(size, how) if limit == "cuts" else crowd(size, how)
    stop, end, told = multiprocessing.Event(), multiprocessing.Event(), multiprocessing.Queue()
    asker = multiprocessing.Process(target=floods.ask, args=(gateway.port, end, told))
    people = multiprocessing.Process(target=part, args=(gateway, stop, told))
    before = gateway.descriptors()
    for process in (people, asker):
        process.start()
    peak = peak_kernel = peak_open = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        own, held = cage.held(gateway)
        peak, peak_kernel = max(peak, own + held), max(peak_kernel, held)
        peak_open = max(peak_open, gateway.metric("ucs_gateway_client_connections_open"))
        time.sleep(0.25)
    stop.set()
    said = dict([told.get(timeout=120)])
    left_kernel, took = settle_kernel(gateway)
    end.set()
    said.update([told.get(timeout=120)])
    for process in (people, asker):
        process.join()
    left = floods.settle(gateway, before)
    times, wrong = said.pop("asker")
    times.sort()
    return {
        "crowd": name, "size": size, "open": peak_open, "asked": len(times), "wrong": wrong,
        "p99": times[int(len(times) * 0.99)] * 1e3 if times else float("inf"),
        "peak": peak / MIB, "peak_kernel": peak_kernel / MIB, "left_kernel": left_kernel, "kernel_seconds": took,
        "did": said["crowd"], **left,
    }


def settle_kernel(gateway):
    """How much the kernel holds once the crowd is gone, and after how many seconds that was little."""
    began = time.monotonic()
    while True:
        held, took = kernel_bytes(gateway.port), time.monotonic() - began
        if held <= KERNEL_REST or took > 4 * KERNEL_SECONDS:
            return held, took
        time.sleep(0.1)


def judge(row, busy):
    name, faults = f"{row['crowd']} of {row['size']}", []
    if row["wrong"] or not row["asked"]:
        faults.append(f"{name}: {len(row['wrong'])} of {row['asked']} ordinary requests went wrong: {row['wrong'][:3]}")
    if row["p99"] > P99_MS and not busy:
        faults.append(f"{name}: p99 was {row['p99']:.1f} ms, allowed are {P99_MS}")
    if row["peak"] * MIB > POD:
        faults.append(f"{name}: gateway and kernel took {row['peak']:.0f} MiB, allowed are {POD // MIB}")
    if row["left_kernel"] > KERNEL_REST or row["kernel_seconds"] > KERNEL_SECONDS:
        faults.append(f"{name}: the kernel held {row['left_kernel']} bytes after {row['kernel_seconds']:.1f} s")
    if row["left_open"] or row["left_in_flight"] or row["left_descriptors"] > 8:
        faults.append(f"{name}: left {row['left_open']} connections, {row['left_in_flight']} requests in flight, "
                      f"{row['left_descriptors']} descriptors")
    return faults


def sizes(name, full):
    if not full:
        return [{"cuts": 30, "streams": 300 // http2.STREAMS}.get(CROWDS[name][0], 300)]
    connections = 256 * (os.cpu_count() or 1)
    measures = {"upstream_connections": connections, "streams": connections // http2.STREAMS, "heads": 1000, "cuts": 100}
    measure_of = measures[CROWDS[name][0]]
    return [measure_of, measure_of + 1, min(10 * measure_of, 9000)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true", default=os.environ.get("UCS_GATEWAY_FULL") == "1")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--sizes", default="")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (75 if arguments.full else 3)
    chosen = [name for name in arguments.only.split(",") if name] or list(CROWDS)
    if floods.raise_limit() < 12_000:
        print("few open files are allowed: the crowds are smaller than meant", file=sys.stderr)
    cage = Cage()
    if not cage.folder:
        print("no memory cgroup may be made here: sockets to UCS are not counted", file=sys.stderr)
    folder, children, rows, broken = tempfile.mkdtemp(prefix="campaign-"), [], [], []
    try:
        gateway = floods.start(folder, children, FLAGS + ([] if arguments.full else SHORT_FLAGS), cage.enter)
        for name in chosen:
            for size in [int(size) for size in arguments.sizes.split(",") if size] or sizes(name, arguments.full):
                row = measure(gateway, cage, name, size, seconds)
                rows.append(row)
                broken += judge(row, busy=not arguments.full)
                floods.print_row(row)
    finally:
        floods.end(children)
        cage.remove()
        shutil.rmtree(folder, ignore_errors=True)
    print("\n| crowd | clients | p99 ms | gateway and kernel, MiB | of these kernel, MiB | kernel empty after s | refused |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {row['crowd']} | {row['size']} | {row['p99']:.1f} | {row['peak']:.0f} | {row['peak_kernel']:.1f} "
              f"| {row['kernel_seconds']:.1f} | {len(row['wrong'])} of {row['asked']} |")
    for fault in broken:
        print("BROKEN:", fault)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
