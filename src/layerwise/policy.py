"""What the content-security policies of all pages share."""

import base64
import hashlib


def only_script(script: str) -> str:
    """Return the directive that lets a page run this inline script and no other."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"script-src 'sha256-{digest}'"
