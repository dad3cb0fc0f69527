"""Responses with which a connection may become one of another protocol."""

SWITCHES = [
    b"HTTP/1.1 101 x\r\n" + fields + b"\r\n"
    for fields in (
        b"",
        b"Upgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\n",
        b"Connection: close\r\nUpgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nContent-Length: 5\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nContent-Length: 0\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nTransfer-Encoding: chunked\r\n",
        b"Connection: Upgrade\r\n folded\r\nUpgrade: other\r\n",
        b"Connection: Upgrade\r\nUpgrade: other\r\nX\x01: y\r\n",
    )
] + [
    b"HTTP/1.1 %d x\r\n%b\r\n" % (status, fields)
    for status in (200, 204, 299, 300, 304, 407)
    for fields in (b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n")
]
