"""Send files by STOW-RS as a plain HTTP client does (PS3.18 10.5)."""

from __future__ import annotations

from pathlib import Path

import httpx


def post(url: str, files: list[Path], *, from_address: str = "127.0.0.1") -> set[str]:
    """SOP Instance UIDs that were answered with success; none when the engine went away meanwhile."""
    parts = b"".join(
        b"--zone\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n" for file in files
    )
    headers = {
        "Content-Type": 'multipart/related; type="application/dicom"; boundary=zone',
        "Accept": "application/dicom+json",
    }
    transport = httpx.HTTPTransport(local_address=from_address)
    try:
        with httpx.Client(transport=transport, timeout=60, trust_env=False) as client:
            answer = client.post(f"{url}/dicomweb/studies", content=parts + b"--zone--\r\n", headers=headers)
    except httpx.TransportError:
        return set()
    if answer.status_code not in (200, 202):
        return set()
    stored = answer.json().get("00081199", {}).get("Value", [])
    return {one["00081155"]["Value"][0] for one in stored}
