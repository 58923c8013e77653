"""Requests and their replies on disk: one small JSON file each, found again by the request itself."""

import hashlib
import json
import time
from pathlib import Path

from blossom.common import paths


class Kept:
    """Replies in a folder. A request is a JSON-able dict that holds all that its reply depends on.

    Example: kept.put({"prompt": "안녕?"}, reply="안녕!"); kept.get({"prompt": "안녕?"})["reply"] -> "안녕!"
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def _file(self, request):
        text = json.dumps(request, sort_keys=True, ensure_ascii=False)
        return self.folder / f"{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}.json"

    def get(self, request):
        """What was put beside this request (a dict), or None. ValueError names a file that is no longer JSON."""
        file = self._file(request)
        return paths.read_json(file) if file.exists() else None

    def put(self, request, **found):
        """Keep `found` (reply=..., ...) beside the request, with the time."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        paths.write_json(self._file(request), {"request": request} | found | {"at": at})
