"""Pages of a listing as services really send them.

Names come quoted as in a URL, but not all that a page repeats of the question: Ceph writes the prefix, the place to start at and
the place to go on at as they are, and a control character in one of them is no XML. And an answer that is no listing at all, of
a gateway or a login page, must not pass for an empty one: all files would be gone.
"""

from __future__ import annotations

import re
from typing import Any

from core.errors import Transient

_LOST = "\ufffd"
_REPEATED = re.compile(rb"(?<!<CommonPrefixes>)<(Prefix|StartAfter|ContinuationToken|NextContinuationToken)>[^<]*")
_LISTING = re.compile(rb"\s*(<\?xml[^>]*>)?\s*<ListBucketResult\b")
# control characters, U+FFFE and U+FFFF, in UTF-8 and as numbers
_NO_XML = re.compile(
    b"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
    b"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)


def mend(response_dict: dict[str, Any], **_: Any) -> None:
    """Take what is no XML out of what a page repeats; a handler of botocore's event `before-parse`."""
    body = response_dict["body"]
    if _NO_XML.search(body) and _LISTING.match(body):
        response_dict["body"] = _REPEATED.sub(lambda one: _NO_XML.sub(_LOST.encode(), one[0]), body)
        response_dict["status_code"] = 200  # botocore has made it 500, for it could not read the page


def is_last(page: Any, what: str) -> bool:
    """Whether no page follows. Raises Transient for an answer that is no page of a listing."""
    if "IsTruncated" not in page:
        raise Transient("broken_listing", f"{what}: the answer is no listing", "is s3.endpoint_url an S3 service?")
    return not page["IsTruncated"]


def next_page(page: Any, asked: dict[str, Any], last: str, what: str) -> dict[str, Any]:
    """What to ask for the next page: by the service's own mark or, where that was not whole, by the last key of this one.

    Raises Transient when neither leads on.
    """
    token = page.get("NextContinuationToken")
    if not token or token == asked.get("ContinuationToken"):
        raise Transient("broken_listing", f"{what}: a page says that more follow, but not how to go on")
    if _LOST not in token:
        return asked | {"ContinuationToken": token}
    # a common prefix is named again as long as a key below it follows
    after = last + "\U0010ffff" if last.endswith("/") else last
    if not last or after == asked.get("StartAfter"):
        raise Transient("broken_listing", f"{what}: a page says that more follow, but not how to go on")
    return {key: value for key, value in asked.items() if key != "ContinuationToken"} | {"StartAfter": after}
