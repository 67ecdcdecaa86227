"""Python's requests, on urllib3."""

import requests
from cases import run_all


class Sized:
    """A body of known length that is sent in pieces."""

    def __init__(self, case):
        self.length, self.pieces = case.size, case.pieces()

    def __len__(self):
        return self.length

    def __iter__(self):
        return self.pieces


def ask(address, case):
    body = case.pieces() if case.chunked else case.body() if case.is_whole() else Sized(case)
    return requests.post(f"http://{address}{case.path}", data=body, headers=case.headers, timeout=60).status_code


run_all(ask)
