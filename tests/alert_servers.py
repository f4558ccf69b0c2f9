"""Where alerts arrive: a real SMTP server and a real webhook on loopback, and what they took."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Received:
    """What the two servers took. `channels`: their addresses, as VIGIE_ALERTS names them."""

    mails: list[EmailMessage] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    channels: str = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # pyright: ignore
        return "250 OK"

    def text(self, rank: int = -1) -> str:
        """The plain text of a message."""
        part = self.mails[rank].get_body(("plain",))
        assert part is not None
        return part.get_content()


@contextmanager
def receiving(secret: str) -> Iterator[Received]:
    """Both servers, until the end; the webhook's address holds the secret."""
    found = Received()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mail = Controller(found, hostname="127.0.0.1", port=port)
    mail.start()
    hook = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    to = f"mailto://127.0.0.1:{port}?from=vigie@exemple.fr&to=equipe@exemple.fr&format=text&mode=insecure"
    found.channels = f"{to} json://127.0.0.1:{hook.server_address[1]}/crochet?token={secret}"
    try:
        yield found
    finally:
        mail.stop()
        hook.shutdown()
        hook.server_close()
