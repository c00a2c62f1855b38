"""What the operating system says of a connection that failed, in a few words."""

from __future__ import annotations

import os
import re
import socket
import ssl


def why(error: Exception) -> str:
    """The reason without addresses and numbers. Event loops word the same one in several ways."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or 'no reason given').replace('_', ' ').lower()}"
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    if isinstance(error, OSError):
        # Several addresses of one name, each with a failure: the first one tells.
        number = error.errno or int((re.findall(r"\[Errno (\d+)\]", str(error)) or [0])[0])
        if number:
            return os.strerror(number).lower()
    return str(error) or type(error).__name__
