"""`python -m benchmarks.s3.bucket KEYS`: an S3 service with one flat bucket of made-up keys; prints its port."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

KEYS = int(sys.argv[1]) if len(sys.argv) > 1 else 0


def key(number: int) -> str:
    return f"key-{number:09}"


def beyond(after: str) -> int:
    """The number of the first key after one."""
    low, high = 0, KEYS
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if key(middle) <= after else (low, middle)
    return low


class Answer(BaseHTTPRequestHandler):
    """Answers list_objects_v2, whatever the bucket and the prefix."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
        first = beyond(after) if after else 0
        last = min(KEYS, first + int(asked.get("max-keys", ["1000"])[0]))
        more = f"<IsTruncated>{'true' if last < KEYS else 'false'}</IsTruncated>"
        if last < KEYS:
            more += f"<NextContinuationToken>{key(last - 1)}</NextContinuationToken>"
        body = "".join(
            f"<Contents><Key>{key(number)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{number}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for number in range(first, last)
        )
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        data = f"<?xml version='1.0'?><ListBucketResult xmlns='{space}'>{more}{body}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    print(server.server_port, flush=True)
    server.serve_forever()
