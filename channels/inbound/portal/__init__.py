"""The web portal: what clinicians, interface engineers and admins see and do in a browser."""
