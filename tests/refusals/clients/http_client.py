"""Python's http.client."""

import http.client

from cases import run_all


def ask(address, case):
    connection = http.client.HTTPConnection(address, timeout=60)
    body = case.body() if case.is_whole() else case.pieces()
    if case.chunked:
        headers = {**case.headers, "Transfer-Encoding": "chunked"}
    else:
        headers = {**case.headers, "Content-Length": str(case.size)}
    connection.request("POST", case.path, body, headers, encode_chunked=case.chunked)
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status


run_all(ask)
