"""How fast instances are taken in by STOW-RS, beside Orthanc; run as `python -m bench.stow`."""
