"""The site kit: all that a hospital's network people need, in one folder.

Enter: a site, the hub, the forwards. Leave: the configuration, the forwards' rules, the configuration as a
QR code where it holds the private key, and a page in plain words for the firewall team, with commands that
show whether it works. Files are text by name; who writes them gives them mode 0600.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wg.block import Block
from wg.register import SiteTunnel
from wg.site import MTU, Forward, Hub, render_forwards, render_site


@dataclass(frozen=True, slots=True)
class Kit:
    """The files of one kit."""

    files: Mapping[str, bytes]


def make_kit(
    site: SiteTunnel,
    block: Block,
    hub: Hub,
    preshared_key: str,
    forwards: Sequence[Forward] = (),
    *,
    own_ports: Sequence[int] = (),
    private_key: str = "",
    site_name: str = "",
) -> Kit:
    """The kit of a site.

    Args:
        own_ports: what the hub calls on the site's own machine, where nothing is forwarded.
        private_key: only where the site cannot make its own key.
        site_name: what people call the site; its key when empty.
    """
    configuration = render_site(site, block, hub, preshared_key, private_key=private_key)
    files = {
        "pons0.conf": configuration.encode(),
        "pons-site.nft": render_forwards(site, block, hub, forwards, own_ports=own_ports).encode(),
        "README.txt": _instructions(
            site, block, hub, forwards, own_ports, bool(private_key), site_name
        ).encode(),
    }
    if private_key:
        files["pons0.svg"] = _qr(configuration)
    return Kit(files)


def _qr(text: str) -> bytes:
    import segno  # late: only kits with a private key have a picture

    stream = io.BytesIO()
    segno.make_qr(text, error="l").save(stream, kind="svg", scale=4, border=4)
    return stream.getvalue()


def _instructions(
    site: SiteTunnel,
    block: Block,
    hub: Hub,
    forwards: Sequence[Forward],
    own_ports: Sequence[int],
    has_key: bool,
    site_name: str,
) -> str:
    host, _, port = hub.endpoint.rpartition(":")
    called = [f"{site.ipv4}:{one.port} -> {one.to}:{one.to_port}" for one in forwards]
    called += [f"{site.ipv4}:{port}, on the gateway itself" for port in sorted(own_ports)]
    inside = "\n".join(f"     {one}" for one in called or ["none: nothing inside is reached by the tunnel"])
    outside = "\n".join(f"     {block.hub_ipv4}:{one.port}  {one.purpose}" for one in hub.ports)
    echo = next((one.port for one in hub.ports if one.purpose.startswith("DICOM C-STORE")), None)
    echoscu = f"  echoscu {block.hub_ipv4} {echo}  (DCMTK)\n" if echo is not None else ""
    key = (
        "2. The private key is in pons0.conf. Treat the file as a password; delete the mail it came by."
        if has_key
        else """2. Make the key on the gateway; it never leaves it:
     umask 077; wg genkey > /etc/wireguard/pons0.key; wg pubkey < /etc/wireguard/pons0.key
   and send us the line that the last command prints (the public key, no secret)."""
    )
    return f"""\
Tunnel of {site_name or site.site} to Pons
{"=" * (len(site_name or site.site) + 18)}

For the firewall team: one rule
  allow out  UDP  from the gateway to {host} port {port}, and its answers. Nothing else, nothing inbound.

For the gateway (Linux with wireguard-tools and nftables)
1. Copy pons0.conf and pons-site.nft to /etc/wireguard, mode 0600, owner root.
{key}
3. systemctl enable --now wg-quick@pons0
   Forwarding must be on where systems inside are to be reached: sysctl net.ipv4.ip_forward=1

What the tunnel carries
  The site's address in it is {site.ipv4}. Your own networks stay as they are, whatever their numbers.
  From us to you, only:
{inside}
  From you to us, only:
{outside}
  The packets are at most {MTU} bytes inside the tunnel.

Does it work?
  wg show pons0 latest-handshakes         a time within the last three minutes
  ping -c 3 {block.hub_ipv4}
{echoscu}If there is no handshake: the UDP rule, the gateway's clock, or the key.
If ping works and a study hangs: tell us the path's MTU (tracepath {host}).
"""
