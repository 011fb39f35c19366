"""A server that answers W&B until a run has begun, and from then on nobody."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def vanishing_wandb() -> Iterator[tuple[str, list[str]]]:
    """Its address, and the ids of the runs that it has been told of."""
    gone, over, begun = threading.Event(), threading.Event(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("content-length", 0)))
            if gone.is_set():
                over.wait()
                return
            answer = {"viewer": {"id": "u", "entity": "lab", "username": "me", "flags": "{}", "teams": {"edges": []}},
                      "serverInfo": {"cliVersionInfo": {}, "features": []}, "model": None}  # fmt: skip
            if b"upsertBucket" in asked:
                name = json.loads(asked)["variables"]["name"]
                begun.append(name)
                project = {"id": "p", "name": "avocado", "entity": {"id": "e", "name": "lab"}}
                bucket = {"id": "b", "name": name, "displayName": name, "config": "{}", "project": project}
                answer = {"upsertBucket": {"bucket": bucket, "inserted": True}}
            content = json.dumps({"data": answer}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if begun:
                gone.set()

        do_GET = do_POST

        def log_message(self, *args) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address) -> None:
            """Whoever hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", begun
        finally:
            over.set()
            server.shutdown()
