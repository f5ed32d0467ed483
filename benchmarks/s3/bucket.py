"""`python -m benchmarks.s3.bucket KEYS SHAPE DELAY`: an S3 service with one bucket of made-up keys; prints its port.

Each page takes at least DELAY seconds.
"""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

SHAPES: dict[str, Callable[[int], str]] = {
    "flat": lambda number: f"key-{number:09}",
    "prefix": lambda number: "long-prefix-" * 17 + f"{number:09}",
    "unicode": lambda number: f"文{chr(0x4E00 + number // 10_000)}{number % 10_000:04}",
    "uneven": lambda number: f"a{number:09}" if number % 100 else f"Z{number:09}",
}
"""Keys by their number: short ones, ones that share 204 bytes, ones of one block of Unicode, 99 % beyond one letter."""


class Keys:
    """The keys of a bucket in order."""

    def __init__(self, count: int, shape: str) -> None:
        self.all = sorted(map(SHAPES[shape], range(count)))

    def beyond(self, after: str) -> int:
        """The number of the first key after one."""
        return bisect_right(self.all, after)


def main() -> None:
    keys, delay = Keys(int(sys.argv[1]), sys.argv[2]), float(sys.argv[3])

    class Answer(BaseHTTPRequestHandler):
        """Answers list_objects_v2, whatever the bucket and the prefix."""

        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            began = time.monotonic()
            asked = parse_qs(urlsplit(self.path).query)
            after = asked.get("continuation-token", asked.get("start-after", [""]))[0]
            first = keys.beyond(after) if after else 0
            last = min(len(keys.all), first + int(asked.get("max-keys", ["1000"])[0]))
            more = f"<IsTruncated>{'true' if last < len(keys.all) else 'false'}</IsTruncated><EncodingType>url</EncodingType>"
            if last < len(keys.all):
                more += f"<NextContinuationToken>{keys.all[last - 1]}</NextContinuationToken>"
            body = "".join(
                f"<Contents><Key>{quote(keys.all[number])}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{number:032x}&quot;</ETag><Size>{number}</Size><StorageClass>STANDARD</StorageClass></Contents>"
                for number in range(first, last)
            )
            space = "http://s3.amazonaws.com/doc/2006-03-01/"
            data = f"<?xml version='1.0'?><ListBucketResult xmlns='{space}'>{more}{body}</ListBucketResult>".encode()
            time.sleep(max(0.0, delay - (time.monotonic() - began)))
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
