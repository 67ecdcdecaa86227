"""Writes the configurations of HAProxy, nginx and Envoy from a route table: the same routes, the same verdicts, the same
sizes of answers, timeouts of the same length, keep-alive to the upstream, and the forwarding headers that a deployment
would set anyhow. It starts nothing.
"""

import json
import os
from dataclasses import dataclass

from table import PASS, REFUSE, Table, verdict

# Answers end in so many different operations that peers say a fixed sentence, padded to the length of the gateway's.
SENTENCE = {503: "This operation is unavailable in the current mode.", 404: "No operation has this method and path."}
HAPROXY_HEADERS = """    unique-id-format %{+X}o%ci:%cp_%fi:%fp_%Ts_%rt:%pid
    unique-id-header X-Request-Id
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request add-header Via "1.1 haproxy"
    http-response add-header Via "1.1 haproxy"
"""
NGINX_HEADERS = """    proxy_set_header X-Request-Id $request_id;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header Via "1.1 nginx";
    add_header Via "1.1 nginx";
"""
SAME_VERDICT = {"GET": ("GET", "HEAD"), "ANY": ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")}


@dataclass
class Setting:
    """What a contender is to do in one row of the comparison."""

    table: Table
    mode: str
    listen: int  # port on 127.0.0.1
    upstream: int  # port on 127.0.0.1
    workers: int
    folder: str  # for its files
    logged: bool = False  # one JSON line a request
    answer_sizes: tuple = (400, 300)  # bytes of the 503 and the 404
    all_headers: bool = False  # every header that the gateway sets, not only the two that any proxy is told to set
    nginx_connections: int = 16000  # nginx takes the memory for so many when it starts
    tls: str = ""  # folder of the certificate for clients
    upstream_tls: str = ""  # folder of the CA of the upstream
    access: str = ""  # access.yaml of the gateway


def body(status, setting):
    """A problem document of the wanted size."""
    size = setting.answer_sizes[0 if status == 503 else 1]
    shell = {"type": "about:blank", "title": "Unavailable", "status": status, "detail": SENTENCE[status]}
    missing = size - len(json.dumps(shell)) - len(', "pad": ""')
    return json.dumps(shell | {"pad": "x" * missing} if missing > 0 else shell)


def by_method(table, mode):
    """Method → (fixed paths → verdict, [(pattern, verdict)] in the order of the table). HEAD goes with GET."""
    methods = {}
    for route in table.routes:
        for method in SAME_VERDICT.get(route.method, (route.method,)):
            fixed, patterns = methods.setdefault(method, ({}, []))
            if route.is_fixed():
                path = table.base + route.template
                for spelling in (path, path.rstrip("/") + "/"):
                    fixed.setdefault(spelling, verdict(route, mode))
            else:
                patterns.append((route.pattern(table.base), verdict(route, mode)))
    return methods


def write(folder, name, text):
    path = f"{folder}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def haproxy(s):
    """A hash of fixed paths, then a list of regexes (JIT-compiled PCRE2), for each method. Returns the configuration."""
    lines = []
    for method, (fixed, patterns) in by_method(s.table, s.mode).items():
        exact = write(s.folder, f"haproxy-{method}-fixed", "".join(f"{p} {v}\n" for p, v in fixed.items()))
        regex = write(s.folder, f"haproxy-{method}-regex", "".join(f"{p} {v}\n" for p, v in patterns))
        lines.append(f"    http-request set-var(txn.verdict) path,map_str({exact}) if {{ method {method} }}")
        lines.append(
            f"    http-request set-var(txn.verdict) path,map_reg({regex})"
            f" if {{ method {method} }} !{{ var(txn.verdict) -m found }}"
        )
    refused, unmatched = (write(s.folder, f"haproxy-{code}.json", body(code, s)) for code in (503, 404))
    log = '"%HM","path":"%HPO","status":%ST,"bytes":%B,"micros":%Tu,"client":"%ci","at":"%tr"'
    logged = f"    log stdout format raw local0\n    log-format '{{\"method\":{log}}}'\n" if s.logged else ""
    rules = "\n".join(lines)
    more = HAPROXY_HEADERS if s.all_headers else ""
    tls = f" ssl crt {s.tls}/both.pem ssl-min-ver TLSv1.2 alpn h2,http/1.1" if s.tls else ""
    upstream = f" ssl verify required ca-file {s.upstream_tls}/ca.pem sni str(localhost)" if s.upstream_tls else ""
    return haproxy_head(s, "http") + f"""
frontend clients
    bind 127.0.0.1:{s.listen} backlog 4096{tls}
{logged}    option forwardfor
{rules}
    http-request return status 404 content-type application/problem+json file {unmatched} unless {{ var(txn.verdict) -m found }}
    http-request return status 503 content-type application/problem+json file {refused} if {{ var(txn.verdict) -m str {REFUSE} }}
    http-request set-header X-Forwarded-Proto {"https" if s.tls else "http"}
{more}    default_backend ucs
backend ucs
    server ucs 127.0.0.1:{s.upstream} pool-max-conn -1{upstream}
"""


def haproxy_tcp(s):
    """The floor: bytes are copied, nothing is read."""
    return haproxy_head(s, "tcp") + f"""
listen floor
    bind 127.0.0.1:{s.listen} backlog 4096
    server ucs 127.0.0.1:{s.upstream}
"""


def haproxy_head(s, mode):
    http = "    option http-keep-alive\n    http-reuse always\n    timeout http-request 10s\n    timeout http-keep-alive 75s\n"
    return f"""global
    nbthread {s.workers}
    maxconn 12000
    no strict-limits
defaults
    mode {mode}
{http if mode == "http" else ""}    timeout connect 5s
    timeout client 75s
    timeout server 120s
"""


def nginx(s, style="map"):
    """Maps (a hash of fixed paths, then JIT-compiled PCRE2 in order), or one location a path; see the README."""
    decide, routing = nginx_locations(s) if style == "locations" else nginx_maps(s)
    fields = '"method":"$request_method","path":"$uri","status":$status,"bytes":$body_bytes_sent,"seconds":$request_time'
    logging = f"access_log {s.folder}/access.log json buffer=32k flush=1s;" if s.logged else "access_log off;"
    return nginx_head(s.workers, s.folder, connections=s.nginx_connections) + f"""
    log_format json escape=json '{{{fields},"client":"$remote_addr","at":"$time_iso8601"}}';
    {logging}
    default_type application/problem+json;
    map_hash_bucket_size 256; map_hash_max_size 16384;
{decide}
    upstream ucs {{ server 127.0.0.1:{s.upstream}; keepalive 1024; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
{NGINX_HEADERS if s.all_headers else ""}    proxy_connect_timeout 5s; proxy_read_timeout 120s; proxy_send_timeout 60s;
    proxy_buffers 16 8k; proxy_max_temp_file_size 0;
    server {{
        listen 127.0.0.1:{s.listen} backlog=4096 reuseport{" ssl http2" if s.tls else ""};
{nginx_tls(s)}{routing}
    }}
}}
"""


def nginx_tls(s):
    """Tickets are on by default, as everywhere."""
    front = f"""        ssl_certificate {s.tls}/certificate.pem; ssl_certificate_key {s.tls}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
"""
    back = f"""        proxy_ssl_trusted_certificate {s.upstream_tls}/ca.pem; proxy_ssl_verify on; proxy_ssl_name localhost;
        proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
"""
    return (front if s.tls else "") + (back if s.upstream_tls else "")


def nginx_maps(s):
    maps, chosen = [], []
    for method, (fixed, patterns) in by_method(s.table, s.mode).items():
        entries = [f'        "{p}" {v};' for p, v in fixed.items()] + [f'        "~{p}" {v};' for p, v in patterns]
        maps.append(f"    map $uri $verdict_{method} {{\n" + "\n".join(entries) + "\n    }")
        chosen.append(f"        {method} $verdict_{method};")
    maps.append("    map $request_method $verdict {\n" + "\n".join(chosen) + "\n    }")
    routing = f"""        location / {{
            if ($verdict = "") {{ return 404 '{body(404, s)}'; }}
            if ($verdict = {REFUSE}) {{ return 503 '{body(503, s)}'; }}
            proxy_pass {"https" if s.upstream_tls else "http"}://ucs;
        }}"""
    return "\n".join(maps), routing


def nginx_locations(s):
    """One location a path; regexes nested below their fixed beginning, which nginx finds by a tree."""
    verdicts, fixed, nested = {}, [], {}
    methods = sorted({m for route in s.table.routes for m in SAME_VERDICT.get(route.method, (route.method,))})
    # A path with a word where another has a parameter comes first, whatever the methods of the two.
    routes = {r.pattern(s.table.base): r for r in s.table.routes}.values()
    for route in sorted(routes, key=lambda r: ["{" in part for part in r.template.split("/")]):
        sample = route.sample(s.table.base, "0")
        if sample is None:
            raise SystemExit("nginx as locations needs templates: a route is written as regex; leave nginx-locations out")
        answers = tuple((m, s.table.verdict(m if m != "HEAD" else "GET", sample, s.mode)) for m in methods)
        name = verdicts.setdefault(answers, f"verdict_{len(verdicts)}")
        refusals = f"if (${name} = unmatched) {{ return 404 $no_body; }} if (${name} = {REFUSE}) {{ return 503 $mode_body; }}"
        inside = f"{{ {refusals} proxy_pass http://ucs; }}"
        if route.is_fixed():
            fixed += [f"        location = {p} {inside}" for p in (sample, sample + "/")]
        else:
            prefix = s.table.base + route.template.split("{")[0]
            nested.setdefault(prefix, []).append(f'            location ~ "{route.pattern(s.table.base)}" {inside}')
    maps = [f"    map '' $no_body {{ default '{body(404, s)}'; }}\n    map '' $mode_body {{ default '{body(503, s)}'; }}"]
    for answers, name in verdicts.items():
        maps.append(f"    map $request_method ${name} {{ default unmatched; " + " ".join(f"{m} {v};" for m, v in answers) + " }")
    otherwise = "return 404 $no_body;"
    groups = [f"        location {p} {{\n" + "\n".join(rs) + f"\n            {otherwise}\n        }}" for p, rs in nested.items()]
    return "\n".join(maps), "\n".join(fixed + groups + [f"        location / {{ {otherwise} }}"])


def nginx_head(workers, folder, keep_alive="75s", connections=16000):
    # Started by root, nginx would give up the right to read what root wrote.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""daemon off;
{user}
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr error;
pcre_jit on;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000; keepalive_timeout {keep_alive}; client_header_timeout 10s; client_body_timeout 60s; send_timeout 60s;
    tcp_nodelay on; server_tokens off;
"""


def upstream(folder, workers, large, secure, certificates):
    """The fastest UCS there could be with long answers: 64 KB to a GET, from its cache of open files; and one with TLS."""
    write(folder, "64k.bin", "y" * 65536)
    return nginx_head(workers, folder, "600s") + f"""
    access_log off;
    default_type application/json;
    client_header_buffer_size 8k;
    server {{
        listen 127.0.0.1:{large} backlog=4096;
        root {folder};
        sendfile on; open_file_cache max=16 inactive=600s; open_file_cache_valid 600s;
        location / {{ try_files /64k.bin =500; }}
    }}
    server {{
        listen 127.0.0.1:{secure} backlog=4096 ssl;
        ssl_certificate {certificates}/certificate.pem; ssl_certificate_key {certificates}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ return 200 '{"y" * 1024}'; }}
    }}
}}
"""


def envoy(s):
    """A list of routes with RE2 regexes; refusals are direct responses. HEAD is left out, in Envoy's favour."""
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "clients", "address": address(s.listen), "tcp_backlog_size": 4096}
    listener["filter_chains"] = [{"filters": [{"name": "http", "typed_config": envoy_http(s)}]}]
    cluster = {
        "name": "ucs",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{k: 100000 for k in ("max_connections", "max_pending_requests", "max_requests")}]},
        "load_assignment": {"cluster_name": "ucs", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(s.upstream)}}]}]},
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def envoy_http(s):
    prefix = "type.googleapis.com/envoy.extensions."
    manager = {
        "@type": prefix + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "generate_request_id": s.all_headers,
        "request_headers_timeout": "10s",
        "common_http_protocol_options": {"idle_timeout": "75s"},
        "route_config": {"virtual_hosts": [{"name": "ucs", "domains": ["*"], "routes": envoy_routes(s)}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": prefix + "filters.http.router.v3.Router", "suppress_envoy_headers": True}}
        ],
    }
    if s.all_headers:
        manager |= {"via": "envoy"}
        host = {"header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"}}
        manager["route_config"] |= {"request_headers_to_add": [host]}
    if s.logged:
        fields = {"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "status": "%RESPONSE_CODE%", "bytes": "%BYTES_SENT%"}
        fields |= {"millis": "%DURATION%", "client": "%DOWNSTREAM_REMOTE_ADDRESS%", "at": "%START_TIME%"}
        sink = {"@type": prefix + "access_loggers.file.v3.FileAccessLog", "path": f"{s.folder}/access.log"}
        manager["access_log"] = [{"name": "file", "typed_config": sink | {"log_format": {"json_format": fields}}}]
    return manager


def envoy_routes(s):
    routes = []

    def add(match, wanted):
        answer = {"route": {"cluster": "ucs", "timeout": "120s"}}
        if wanted != PASS:
            code = 503 if wanted == REFUSE else 404
            answer = {"direct_response": {"status": code, "body": {"inline_string": body(code, s)}}}
        routes.append({"match": match} | answer)

    for route in s.table.routes:
        method = [{"name": ":method", "string_match": {"exact": route.method}}] if route.method != "ANY" else []
        if route.is_fixed():
            path = s.table.base + route.template
            for spelling in (path, path.rstrip("/") + "/"):
                add({"path": spelling, "headers": method}, verdict(route, s.mode))
        else:
            add({"safe_regex": {"regex": route.pattern(s.table.base)}, "headers": method}, verdict(route, s.mode))
    add({"prefix": "/"}, "unmatched")
    return routes
