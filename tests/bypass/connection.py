"""A client's connection to the gateway or a container: one at a time, kept as long as the other side keeps it. What is said
over it is the protocol's (`campaign`, `h2client`)."""

import socket

ANSWER_SECONDS = 10


class Answer:
    def __init__(self, status, headers):
        self.status, self.headers = status, headers

    def took(self):
        """(class, method, path) of the servlet that took the request; None if none says so."""
        return tuple(self.headers["took"].split(" ", 2)) if "took" in self.headers else None


class Connection:
    def __init__(self, port, trust):
        self.port, self.trust, self.socket, self.file = port, trust, None, None

    def send(self, head, method):
        """The answer; None when there is none, or none that can be read. One more try if the connection had ended."""
        for fresh in (self.socket is None, True):
            try:
                if fresh:
                    self.close()
                    self.connect()
                return self.ask(head, method)
            except TimeoutError:
                self.close()
                return None
            except (OSError, ValueError):
                if fresh:
                    self.close()
                    return None

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS)
        if self.trust:
            self.socket = self.trust.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def close(self):
        if self.socket:
            if self.file:
                self.file.close()
            self.socket.close()
            self.socket = self.file = None
