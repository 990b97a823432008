"""What SSH is spoken with, in and out: the algorithms that OpenSSH takes without options (RFC 4253).

Nothing enters. Leave: names for asyncssh, the strongest first; neither DSA, nor SHA-1, nor CBC.
"""

from __future__ import annotations

from asyncssh.kex import get_kex_algs

_HYBRID = "mlkem768x25519-sha256"  # post-quantum, what OpenSSH 10 asks for; it needs a current cryptography

ALGORITHMS = {  # OpenSSH 7.4 and later
    "kex_algs": [
        *([_HYBRID] if _HYBRID.encode() in get_kex_algs() else []),
        *("curve25519-sha256", "curve25519-sha256@libssh.org"),
        *("ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"),
        *("diffie-hellman-group16-sha512", "diffie-hellman-group14-sha256"),
    ],
    "encryption_algs": [
        *("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"),
        *("aes128-ctr", "aes192-ctr", "aes256-ctr"),
    ],
    "mac_algs": [
        *("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"),
    ],
    "compression_algs": ["none"],
}
