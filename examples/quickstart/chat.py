#!/usr/bin/env python3
"""Say something in a channel of a lan-chat server and wait for it: the NATS protocol, by hand.

usage: chat.py PORT CHANNEL MESSAGE
       chat.py PORT CHANNEL --size KIB      a message of that many KiB
"""

from __future__ import annotations

import json
import socket
import sys


def main(port: int, channel: str, message: bytes) -> int:
    """Connect a listener and a speaker, as two people would; return 0 when the whole message arrived."""
    with connect(port) as listener, connect(port) as speaker:
        heard, said = listener.makefile("rb"), speaker.makefile("rb")
        server = json.loads(heard.readline().removeprefix(b"INFO "))
        said.readline()
        hello = b'CONNECT {"verbose":false,"pedantic":false,"name":"%s"}\r\n'
        listener.sendall(hello % b"listener" + b"SUB %s 1\r\nPING\r\n" % channel.encode())
        heard.readline()  # PONG: the subscription stands
        published = b"PUB %s %d\r\n%s\r\n" % (channel.encode(), len(message), message)
        speaker.sendall(hello % b"speaker" + published + b"PING\r\n")
        answer = said.readline().decode().strip()
        if answer != "PONG":
            print(f"server {server['server_name']} refused {len(message)} bytes: {answer}")
            return 1
        size = int(heard.readline().split()[-1])
        arrived = heard.read(size)
        shown = arrived.decode() if size < 100 else f"{size} bytes"
        most = server["max_payload"] // 1024
        print(f"{channel} on {server['server_name']}, messages up to {most} KiB: {shown}")
        return 0 if arrived == message else 1


def connect(port: int) -> socket.socket:
    """Open a connection to the server on this machine."""
    return socket.create_connection(("127.0.0.1", port), timeout=5)


if __name__ == "__main__":
    if len(sys.argv) == 5 and sys.argv[3] == "--size":
        text = b"x" * (int(sys.argv[4]) * 1024)
    elif len(sys.argv) == 4:
        text = sys.argv[3].encode()
    else:
        sys.exit(__doc__)
    try:
        sys.exit(main(int(sys.argv[1]), sys.argv[2], text))
    except OSError as error:
        sys.exit(f"chat.py: no server on port {sys.argv[1]}: {error}")
