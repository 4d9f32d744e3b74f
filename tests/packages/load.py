"""Clients that count what fails: plain requests and calls of legacy sessions, over kept and over fresh connections.

usage: load.py PORT STARTED ENOUGH; makes the file STARTED when each client has been answered, and ends when ENOUGH exists.
Prints one line of JSON: {"answered": N, "failed": ["what", …]}.
"""

import http.client
import json
import os
import select
import sys
import threading

PORT, STARTED, ENOUGH = int(sys.argv[1]), sys.argv[2], sys.argv[3]
CLIENTS = 4
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "load", "version": "1"},
}


class Client(threading.Thread):
    """One client: `keep` keeps its connection, `plain` has no session."""

    def __init__(self, keep, plain):
        super().__init__(daemon=True)
        self.keep, self.plain = keep, plain
        self.connection, self.session, self.id = None, None, 0
        self.answered, self.failed = 0, []

    def exchange(self, method, path, body=None):
        """One request and its answer; a connection that the gateway has closed in the meantime is not used."""
        kept = self.connection
        if kept and kept.sock and select.select([kept.sock], [], [], 0)[0]:
            kept.close()
        if not kept:
            self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
        headers = {"Connection": "keep-alive" if self.keep else "close", "Content-Type": "application/json",
                   "Accept": "application/json, text/event-stream"}
        if self.session:
            headers["Mcp-Session-Id"] = self.session
        self.connection.request(method, path, body and json.dumps(body), headers)
        response = self.connection.getresponse()
        return response, response.read().decode()

    def post(self, method, params):
        self.id += 1
        return self.exchange("POST", "/mcp", {"jsonrpc": "2.0", "id": self.id, "method": method, "params": params})

    def once(self):
        if self.plain:
            response, text = self.exchange("GET", "/health/live")
        else:
            if not self.session:
                self.session = self.post("initialize", HELLO)[0].headers["Mcp-Session-Id"]
            response, text = self.post("tools/list", {})
        if response.status != 200 or not (self.plain or '"result"' in text):
            raise RuntimeError(f"{response.status}: {text}")

    def run(self):
        while not os.path.exists(ENOUGH):
            try:
                self.once()
                self.answered += 1
            except Exception as error:  # Whatever it is, it is a request that failed.
                self.failed.append(f"keep {self.keep}, plain {self.plain}: {error!r}")
                self.connection = None


clients = [Client(keep=number % 2 == 0, plain=number < CLIENTS // 2) for number in range(CLIENTS)]
for client in clients:
    client.start()
while not all(client.answered or client.failed for client in clients):
    clients[0].join(0.02)
open(STARTED, "w").close()
for client in clients:
    client.join()
print(json.dumps({"answered": sum(client.answered for client in clients),
                  "failed": [what for client in clients for what in client.failed]}))
