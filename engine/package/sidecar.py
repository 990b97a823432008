"""The sidecar of a package: its JSON in, the metadata of the order out (RFC 8259, PS3.6).

Keys are DICOM keywords in PascalCase, camelCase or snake_case, as wherever an order is given; see
`engine.overrides`. Nothing is guessed: a sidecar with a key that is no attribute is refused as a whole, since
metadata that are half taken put a result under the wrong patient.
"""

from __future__ import annotations

import json
from typing import Any

from engine.errors import OrderRefused, PackageRefused, PackageRefusedReason
from engine.overrides import checked
from engine.package.files import PackageFile
from engine.package.limits import PackageLimits
from engine.package.reading import whole
from engine.settings import size_text

MOST_SHOWN = 10  # findings

_OF_A_CONVERTER = frozenset({"ConversionSoftware", "ConversionSoftwareVersion", "BidsGuess"})


def metadata_of(file: PackageFile, limits: PackageLimits) -> dict[str, str]:
    """The metadata in a sidecar, by DICOM keyword.

    Raises:
        PackageRefused: it is no JSON object of attributes; quotes no value.
    """
    if file.size > limits.max_sidecar:
        raise _refused(file, f"it has {file.size} bytes, {size_text(limits.max_sidecar)} are taken")
    try:
        document = json.loads(
            whole(file).decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except _GivenTwice:
        raise _refused(file, "it gives a key twice; keep one of them") from None
    except json.JSONDecodeError as error:
        raise _refused(
            file, f"it is no JSON: see line {error.lineno}, column {error.colno}; check it with a JSON editor"
        ) from None
    except UnicodeDecodeError:
        raise _refused(file, "it is not UTF-8 (RFC 8259 8.1); save it as UTF-8") from None
    except (ValueError, RecursionError):
        raise _refused(file, "it is no JSON that can be read; check it with a JSON editor") from None
    if not isinstance(document, dict):
        raise _refused(file, 'it must be one JSON object, such as {"PatientAge": 45, "PatientSex": "F"}')
    if not _OF_A_CONVERTER.isdisjoint(document):
        raise _refused(
            file,
            "it is what a NIfTI converter wrote (BIDS), with other units than DICOM has; "
            "leave it out, or replace it with DICOM attributes",
        )
    try:
        return checked(document)
    except OrderRefused as error:
        findings = str(error).splitlines()
        more = [f"and {len(findings) - MOST_SHOWN} more"] if len(findings) > MOST_SHOWN else []
        raise _refused(file, "\n".join([*findings[:MOST_SHOWN], *more])) from None


class _GivenTwice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _GivenTwice
    return found


def _refuse_constant(_name: str) -> None:
    raise ValueError


def _refused(file: PackageFile, why: str) -> PackageRefused:
    return PackageRefused(PackageRefusedReason.SIDECAR, f"the sidecar, {file.place}: {why}")
