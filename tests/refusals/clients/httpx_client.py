"""Python's httpx, over TLS and HTTP/2."""

import httpx
from cases import run_all


def send(address, case):
    headers = dict(case.headers)
    if not case.chunked:
        headers["Content-Length"] = str(case.size)
    content = case.body() if case.is_whole() else case.pieces()
    with httpx.Client(http2=True, verify=False, timeout=60) as client:
        response = client.post(f"https://{address}{case.path}", content=content, headers=headers)
        return response.status_code if response.http_version == "HTTP/2" else f"lost: over {response.http_version}"


run_all(send)
