#!/usr/bin/env python3
"""Replay recordings of a real iRODS server against any server and say where it answers otherwise.

    replay.py --port 1247 --vault /path/of/demoResc's/vault recordings/*.jsonl

The server must be fresh: zone tempZone, user rods, resource demoResc (unixfilesystem) whose vault this machine can write to,
because some recordings damage files in it. Needs python-irodsclient for one thing, password obfuscation. Exit 1 on a difference.

Strict: message types, intInfo, structs and their fields, row sets, codes of the error stack. Learnt and carried over:
ids, timestamps, challenges, tokens, descriptors. `--text` also compares the texts of the error stack; `-v` prints all.
A folder of the recorded machine stands for one here: DATA for the registered files, VAULT for vaults.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import sys
import tempfile
import xml.etree.ElementTree as ET

DATA, VAULT, HOST = "/data/rec", "/var/lib/irods/Vault", "vm"
PASSWORDS = {"rods": "rods", "alice": "apass", "nobodyhere": "x"}
AUTHENTICATE, ADMIN = 110000, 701
OPENS = {601, 602, 20003}  # their intInfo is a descriptor
# GenQuery columns whose values differ from server to server: ids, times, places
VOLATILE_COLUMNS = {
    201, 208, 209, 301, 306, 311, 312, 317, 401, 402, 419, 420, 423, 424,
    500, 508, 509, 603, 604, 605, 613, 614, 615, 623, 624, 633, 634, 635, 643, 644, 645, 700, 701, 703, 704, 705, 710,
    711, 712, 713, 714, 900,
}  # fmt: skip
VOLATILE_KEYS = re.compile(
    r"(_id|_ts|_time|token|request_result|digest|^l1_.*|^l3_.*|in_pdmo|data_mode|modify_time|create_time)$"
)
STAMP = re.compile(r"^0?\d{10}$")


class Differs(Exception):
    """The server answered otherwise than the recording."""


def read_exactly(sock, count):
    data = bytearray()
    while len(data) < count:
        try:
            chunk = sock.recv(min(count - len(data), 1 << 20))
        except TimeoutError:
            raise Differs("no answer in 60 s, or the server closed the connection") from None
        if not chunk:
            raise Differs("the server closed the connection")
        data += chunk
    return bytes(data)


def send(sock, kind, number, msg, bs):
    header = (
        f"<MsgHeader_PI><type>{kind}</type><msgLen>{len(msg)}</msgLen><errorLen>0</errorLen>"
        f"<bsLen>{len(bs)}</bsLen><intInfo>{number}</intInfo></MsgHeader_PI>"
    ).encode()
    sock.sendall(len(header).to_bytes(4, "big") + header + msg + bs)


def receive(sock):
    header = ET.fromstring(read_exactly(sock, int.from_bytes(read_exactly(sock, 4), "big")))
    part = {name: read_exactly(sock, int(header.findtext(name + "Len") or 0)) for name in ("msg", "error", "bs")}
    return header.findtext("type"), int(header.findtext("intInfo") or 0), part["msg"], part["error"], part["bs"]


def body(text):
    """The JSON inside a BinBytesBuf_PI, or None."""
    match = re.search(r"<buf>(.*?)</buf>", text, re.S)
    if not match or not match.group(1):
        return None
    try:
        return json.loads(base64.b64decode(match.group(1)).rstrip(b"\0"))
    except ValueError:
        return None


def pack_body(value, terminated):
    data = json.dumps(value).encode() + (b"\0" if terminated else b"")
    return f"<BinBytesBuf_PI><buflen>{len(data)}</buflen><buf>{base64.b64encode(data).decode()}</buf></BinBytesBuf_PI>"


class Replay:
    def __init__(self, options):
        self.options = options
        self.data = tempfile.mkdtemp(prefix="replay-")
        os.chmod(self.data, 0o777)
        self.socks, self.users, self.challenge, self.pending, self.fds = {}, {}, {}, {}, {}
        self.learnt = {}

    # from the recorded world to this one, and back
    def here(self, text):
        text = text.replace(DATA, self.data).replace(VAULT, self.options.vault)
        if self.learnt:
            words = "|".join(sorted(map(re.escape, self.learnt), key=len, reverse=True))
            text = re.sub(rf"(?<![0-9A-Za-z-])({words})(?![0-9A-Za-z-])", lambda m: self.learnt[m.group(1)], text)
        return text

    def there(self, text):
        return text.replace(self.data, DATA).replace(self.options.vault, VAULT)

    def learn(self, old, new):
        if old and new and len(old) >= 4 and old != new:
            self.learnt[old] = new

    def event(self, row):
        path = self.here(row["path"])
        if row["event"] == "remove":
            os.remove(path)
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        block = base64.b64decode(row["data"])
        with open(path, "wb") as out:
            out.write(block if row["size"] <= len(block) else block[:1] * row["size"])
        os.chmod(path, 0o666)

    def request(self, row, upcoming):
        conn, number, text = row["conn"], row["int"], row["msg"]
        if row["type"] == "RODS_CONNECT":
            self.socks[conn] = socket.create_connection((self.options.host, self.options.port), timeout=60)
            self.users[conn] = re.search(r"<proxyUser>(.*?)</proxyUser>", text).group(1)
        if number == AUTHENTICATE and "digest" in (content := body(text) or {}):
            password = PASSWORDS[self.users[conn]] if upcoming is None or upcoming["int"] >= 0 else "wrong"
            content["request_result"] = self.challenge[conn]
            digest = hashlib.md5(self.challenge[conn].encode()[:64] + password.encode().ljust(50, b"\0")).digest()
            content["digest"] = base64.b64encode(digest.replace(b"\0", b"\1")).decode()
            text = pack_body(content, False)
        elif number == ADMIN and "<arg3>password</arg3>" in text:
            from irods.password_obfuscation import obfuscate_new_password

            name = re.search(r"<arg2>(.*?)</arg2>", text).group(1)
            signature = "".join(f"{b:02x}" for b in self.challenge[conn].encode()[:16])
            secret = obfuscate_new_password(PASSWORDS[name], PASSWORDS[self.users[conn]], signature)
            secret = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            text = re.sub(r"<arg4>.*?</arg4>", lambda _: f"<arg4>{secret}</arg4>", text, flags=re.S)
        elif (content := body(text)) is not None:
            terminated = base64.b64decode(re.search(r"<buf>(.*?)</buf>", text, re.S).group(1)).endswith(b"\0")
            content = json.loads(self.here(json.dumps(content)))
            if isinstance(content, dict) and "fd" in content:
                content["fd"] = self.fds.get((conn, content["fd"]), content["fd"])
            text = pack_body(content, terminated)
        else:
            text = self.here(text)
            text = re.sub(
                r"<l1descInx>(\d+)</l1descInx>",
                lambda m: f"<l1descInx>{self.fds.get((conn, int(m.group(1))), m.group(1))}</l1descInx>",
                text,
            )
        bs = base64.b64decode(row.get("bs", ""))
        if row.get("bs_len", 0) > len(bs):
            bs = bs[:1] * row["bs_len"]
        send(self.socks[conn], row["type"], number, text.encode(), bs)
        self.pending[conn] = number
        if row["type"] == "RODS_DISCONNECT":
            self.socks.pop(conn).close()

    def reply(self, row):
        conn = row["conn"]
        api = self.pending.get(conn, 0)
        kind, number, msg, error, bs = receive(self.socks[conn])
        if kind != row["type"]:
            raise Differs(f"type {kind}, recorded {row['type']}")
        if api in OPENS and number > 0 and row["int"] > 0:
            self.fds[conn, row["int"]] = number
        elif number != row["int"]:
            raise Differs(f"intInfo {number}, recorded {row['int']} ({error.decode(errors='replace')[:200]})")
        text = self.there(msg.decode("utf-8", "backslashreplace"))
        self.compare_text(conn, row["msg"], text)
        old, new = self.errors(row.get("error", "")), self.errors(self.there(error.decode("utf-8", "replace")))
        if [code for code, _ in old] != [code for code, _ in new] or (self.options.text and old != new):
            raise Differs(f"error stack {new}, recorded {old}")
        if row.get("bs_len", 0) != len(bs):
            raise Differs(f"byte stream of {len(bs)}, recorded {row.get('bs_len', 0)}")

    @staticmethod
    def errors(text):
        if not text.strip():
            return []
        return [(item.findtext("status"), item.findtext("msg")) for item in ET.fromstring(text).iter("RErrMsg_PI")]

    def compare_text(self, conn, old, new):
        if not old.strip() or not new.strip():
            if old.strip() != new.strip():
                raise Differs(f"struct {new[:120]!r}, recorded {old[:120]!r}")
            return
        old_body, new_body = body(old), body(new)
        if old_body is not None:
            new_body = json.loads(self.there(json.dumps(new_body)))
            if isinstance(new_body, dict) and "request_result" in new_body:
                self.challenge[conn] = new_body["request_result"]
            self.compare_json("", old_body, new_body)
            return
        old_root, new_root = ET.fromstring(old), ET.fromstring(new)
        if old_root.tag == "GenQueryOut_PI" == new_root.tag:
            self.compare_rows(old_root, new_root)
        else:
            self.compare_tree(old_root, new_root)

    def compare_json(self, where, old, new):
        if isinstance(old, dict) and isinstance(new, dict):
            if set(old) != set(new):
                raise Differs(f"{where}: keys {sorted(set(old) ^ set(new))} on one side only")
            for key in old:
                if VOLATILE_KEYS.search(key) and not isinstance(old[key], (dict, list)):
                    self.learn(str(old[key]), str(new[key]))
                else:
                    self.compare_json(f"{where}.{key}", old[key], new[key])
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                raise Differs(f"{where}: {len(new)} items, recorded {len(old)}")
            for index, pair in enumerate(zip(old, new, strict=False)):
                self.compare_json(f"{where}[{index}]", *pair)
        elif old != new and not (isinstance(old, str) and isinstance(new, str) and self.same(old, new)):
            raise Differs(f"{where}: {new!r}, recorded {old!r}")

    def same(self, old, new):
        """Equal but for host names, stamps and what a JSON text carries."""
        if old == new or (STAMP.match(old) and STAMP.match(new)):
            return True
        if old[:1] in "[{" and new[:1] in "[{":
            try:
                self.compare_json("", json.loads(old), json.loads(new))
                return True
            except ValueError:
                return False
        return False

    def compare_tree(self, old, new):
        if old.tag != new.tag or [c.tag for c in old] != [c.tag for c in new]:
            raise Differs(f"<{new.tag}> {[c.tag for c in new]}, recorded <{old.tag}> {[c.tag for c in old]}")
        before, after = (old.text or "").strip(), (new.text or "").strip()
        if old.tag in ("cookie", "relVersion"):
            return
        if len(old) == 0 and re.fullmatch(r"(.*[iI]d|.*[tT]ime|data(Create|Modify)|modifyTime)", old.tag):
            self.learn(before, after)
        elif len(old) == 0 and not self.same(before, after):
            raise Differs(f"<{old.tag}> {after!r}, recorded {before!r}")
        for pair in zip(old, new, strict=False):
            self.compare_tree(*pair)

    def compare_rows(self, old, new):
        for name in ("rowCnt", "attriCnt", "totalRowCount"):
            if old.findtext(name) != new.findtext(name):
                raise Differs(f"{name} {new.findtext(name)}, recorded {old.findtext(name)}")
        if (int(old.findtext("continueInx")) > 0) != (int(new.findtext("continueInx")) > 0):
            raise Differs(f"continueInx {new.findtext('continueInx')}, recorded {old.findtext('continueInx')}")
        tables = []
        for root in (old, new):
            columns = [
                (int(c.findtext("attriInx")), [v.text or "" for v in c.findall("value")])
                for c in root.findall("SqlResult_PI")
                if c.findtext("attriInx") != "0"
            ]
            heads = [index for index, _ in columns]
            rows = list(zip(*[values for _, values in columns], strict=False)) if columns else []
            stable = [i for i, index in enumerate(heads) if index not in VOLATILE_COLUMNS]
            rows.sort(key=lambda r: [r[i] for i in stable])
            tables.append((heads, stable, rows))
        (old_heads, stable, old_rows), (new_heads, _, new_rows) = tables
        if old_heads != new_heads:
            raise Differs(f"columns {new_heads}, recorded {old_heads}")
        for before, after in zip(old_rows, new_rows, strict=False):
            for i, index in enumerate(old_heads):
                if i in stable:
                    if not self.same(before[i], after[i]):
                        raise Differs(f"column {index}: {after[i]!r}, recorded {before[i]!r}")
                elif index not in (304, 306, 421):
                    self.learn(before[i], after[i])

    def run(self, path):
        with open(path, encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        differences = 0
        for index, row in enumerate(rows):
            if "event" in row:
                self.event(row)
                continue
            try:
                if row["dir"] == ">":
                    upcoming = next(
                        (r for r in rows[index + 1 :] if r.get("conn") == row["conn"] and r.get("dir") == "<"), None
                    )
                    self.request(row, upcoming)
                elif row["conn"] in self.socks:
                    self.reply(row)
            except Differs as problem:
                differences += 1
                print(f"{os.path.basename(path)}:{index + 1}: API {self.pending.get(row['conn'])}: {problem}")
                if "closed the connection" in str(problem) or not self.options.keep_going:
                    break
            if self.options.verbose:
                print(f"{index + 1} {row['dir']} {row['type']} {row['int']}")
        for sock in self.socks.values():
            sock.close()
        replies = sum(r.get("dir") == "<" for r in rows)
        print(f"{os.path.basename(path)}: {'alike' if not differences else f'{differences} differ'}, {replies} replies")
        return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1247)
    parser.add_argument("--vault", required=True, help="demoResc's vault; other vaults are made beside it (VAULT_name)")
    parser.add_argument("--text", action="store_true")
    parser.add_argument("--keep-going", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("recordings", nargs="+")
    options = parser.parse_args()
    total = sum(Replay(options).run(path) for path in options.recordings)
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
