"""Coding schemes by their DICOM designator: OID for DICOM, URI for FHIR.

Sources: PS3.16 table 8-1, HL7 table 0396, https://hl7.org/fhir/R4/terminologies-systems.html.
A private designator (`99…`) gets an OID derived from its name, the same in every format.
"""

from __future__ import annotations

from engine.model import Code, uid_from

_OIDS = {
    "DCM": "1.2.840.10008.2.16.4",
    "FMA": "2.16.840.1.113883.6.119",
    "LN": "2.16.840.1.113883.6.1",
    "RADLEX": "2.16.840.1.113883.6.256",
    "SCT": "2.16.840.1.113883.6.96",
    "UCUM": "2.16.840.1.113883.6.8",
    "UMLS": "2.16.840.1.113883.6.86",
}
_URIS = {
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "RADLEX": "http://radlex.org",
    "SCT": "http://snomed.info/sct",
    "UCUM": "http://unitsofmeasure.org",
}


def scheme_oid(designator: str) -> str:
    """The OID of a coding scheme."""
    return _OIDS.get(designator) or uid_from("coding scheme", designator)


def scheme_uri(designator: str) -> str:
    """The FHIR system URI of a coding scheme; `urn:oid:` where HL7 names none."""
    return _URIS.get(designator) or f"urn:oid:{scheme_oid(designator)}"


def ln(value: str, meaning: str) -> Code:
    """A LOINC code."""
    return Code(value=value, scheme="LN", meaning=meaning)


def dcm(value: str, meaning: str) -> Code:
    """A DICOM code (PS3.16 annex D)."""
    return Code(value=value, scheme="DCM", meaning=meaning)


def sct(value: str, meaning: str) -> Code:
    """A SNOMED CT code."""
    return Code(value=value, scheme="SCT", meaning=meaning)


IMAGING_REPORT = ln("18748-4", "Diagnostic imaging study")
NARRATIVE = ln("59776-5", "Procedure findings Narrative")
IMPRESSION = ln("19005-8", "Radiology Imaging study [Impression] (narrative)")
COMMENT = ln("48767-8", "Annotation comment [Interpretation] Narrative")
DISCLAIMER = Code(value="disclaimer", scheme="99PONS", meaning="Disclaimer")
STUDY_INSTANCE_UID = dcm("113014", "DICOM Study")
MEASUREMENT_GROUP = dcm("125007", "Measurement Group")
