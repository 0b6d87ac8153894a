"""
A cache as huggingface_hub makes it, in test/golden/hub-cache.json: what snapshot_download leaves of a repository with
the files of test/golden/pipeline/model, asked for as "main" and as "v1", from a server here that answers as the Hub does.

{ entries: { path: { link } | { text } | { bytes } } }: where a link leads, what a small file of the cache itself says, how
many bytes a blob has. Locks are left out: they are files that huggingface_hub locks, which limn cannot.
"""

import hashlib
import json
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import GOLDEN, write_json

REPO = "org/tiny"
COMMIT = "c" * 40
SOURCE = GOLDEN / "pipeline" / "model"
FILES = {path.relative_to(SOURCE).as_posix(): path.read_bytes() for path in sorted(SOURCE.rglob("*")) if path.is_file()}


def is_large(name):
    return name.endswith(".safetensors")


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(name):
    return hashlib.sha256(FILES[name]).hexdigest() if is_large(name) else git_sha1(FILES[name])


def tree_entry(name):
    data = FILES[name]
    entry = {"type": "file", "path": name, "size": len(data), "oid": git_sha1(data)}
    if is_large(name):
        entry["lfs"] = {"oid": etag(name), "size": len(data), "pointerSize": 134}
    return entry


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if self.path.startswith(f"/api/models/{REPO}/revision/"):
            self.answer(json.dumps({"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]}).encode())
        elif self.path.startswith(f"/api/models/{REPO}/tree/{COMMIT}"):
            self.answer(json.dumps([tree_entry(name) for name in FILES]).encode())
        else:
            name = self.path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
            if name not in FILES:
                return self.send_error(404)
            self.answer(FILES[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{etag(name)}"'})

    def answer(self, data, headers={}):
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def describe(path):
    if path.is_symlink():
        return {"link": os.readlink(path)}
    if path.parent.name == "blobs":
        return {"bytes": path.stat().st_size}
    return {"text": path.read_text()}


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
with tempfile.TemporaryDirectory() as home:
    os.environ.update(HF_HOME=home, HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}", HF_HUB_DISABLE_XET="1")
    # Reads the environment once.
    from huggingface_hub import snapshot_download

    for revision in ("main", "v1"):
        snapshot_download(REPO, revision=revision)
    cache = Path(home, "hub")
    paths = [path for path in sorted(cache.rglob("*")) if path.is_symlink() or path.is_file()]
    kept = [path for path in paths if ".locks" not in path.parts]
    write_json(GOLDEN / "hub-cache.json", {"entries": {path.relative_to(cache).as_posix(): describe(path) for path in kept}})
    print(f"test/golden/hub-cache.json  {len(kept)} entries")
