"""A mail server, as a process: keeps each message, or refuses as a file says.

`python -m tests.approvals.notices.mail_receiver PORT FOLDER`
"""

import asyncio
import json
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Keeper:
    """What happens to a message."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if (FOLDER / "refusal").exists():
            return (FOLDER / "refusal").read_text()
        kept = {"to": envelope.rcpt_tos, "from": envelope.mail_from,
                "text": (envelope.content or b"").decode()}  # fmt: skip
        with (FOLDER / "messages").open("a") as file:
            file.write(json.dumps(kept) + "\n")
        return "250 kept"


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Keeper(), hostname="mail"), "127.0.0.1", PORT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
