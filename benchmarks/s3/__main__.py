"""List a flat bucket: python -m benchmarks.s3 [--keys 1000000]"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from core.settings import S3Settings
from core.sources.s3 import S3Source

MIB = 1024


@click.command()
@click.option("--keys", default=1_000_000, show_default=True, help="Keys in the bucket.")
def main(keys: int) -> None:
    """Print keys a second, processor time and peak memory of one whole listing, and what cutting it into parts takes."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([sys.executable, "-m", "benchmarks.s3.bucket", str(keys)], stdout=subprocess.PIPE) as server,
    ):
        try:
            assert server.stdout is not None
            pair = Path(folder) / "key_pair"
            pair.write_text("access\nsecret\n")
            endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
            measure(S3Source("s3://bucket", S3Settings(endpoint_url=endpoint, key_pair_file=pair, addressing="path")))
        finally:
            server.terminate()


def measure(source: S3Source) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.monotonic()
    found = sum(1 for _ in source.scan(""))
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{found:,} keys in {seconds:.1f} s: {found / seconds:,.0f} a second, {cpu:.1f} s of processor")
    print(f"peak memory {after.ru_maxrss / MIB:.0f} MiB, {before.ru_maxrss / MIB:.0f} MiB before the listing")
    listing = source.scan("")
    next(listing)
    began = time.monotonic()
    parts = listing.divide()
    print(f"cut into {len(parts)} parts in {time.monotonic() - began:.2f} s")


if __name__ == "__main__":
    main()
