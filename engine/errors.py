"""Every error that Pons raises on purpose, as one tree.

    PonsError
    ├── ConfigurationError      the table cannot be used; carries findings with line and column
    ├── Rejected                an arrival is refused for good (DIMSE Axxx/Cxxx, HTTP 4xx)
    │     .reason               one of RejectedReason
    ├── Busy                    an arrival is refused for now (DIMSE A700, HTTP 503/507)
    │     .storage_full         True when the disk watermark is the cause (507 rather than 503)
    ├── DatabaseUnavailable     the database cannot be reached, or cannot write; nothing of the work is done
    │     .storage_full         True when its disk is full
    │     .in_doubt             True when the connection was lost at the commit: it may be done after all
    ├── UnknownPeer             an address, calling or called AE title belongs to no known site
    ├── TryAgain                an outbound or processor attempt failed; the next may succeed
    │     .after                seconds to wait at least, when the peer said so
    │     .of_payload           True when the peer is well and only this payload fails: no circuit opens
    │     .uncertain            True when the peer may hold the payload all the same (no answer came)
    ├── Refused                 the peer will never take this payload; it becomes a dead letter
    │     .pause                True when the peer wants nothing more at all (410 Gone): the way is paused
    │     .stored               the identifiers of the parts that the peer has taken all the same
    ├── OrderRefused            an order cannot be given, found or changed as asked (HTTP 4xx)
    │     .reason               one of OrderRefusedReason
    ├── PackageRefused          what somebody uploaded cannot be taken; nothing of it is kept (HTTP 4xx)
    │     .reason               one of PackageRefusedReason
    ├── ProcessorFailed         a processor ended with a failure that a retry would not cure
    └── TransformFailed         an edit of `transform:` cannot be made; nothing of it was sent

What an outbound channel raises outside this tree counts as TryAgain and is logged as a defect.
Messages are lower case, say where, what and what to do, and never carry patient data: they end
in logs, in audit entries and on an operator's screen.
"""

from __future__ import annotations

from enum import StrEnum


class PonsError(Exception):
    """Root of the tree; ``str(error)`` is fit for an operator."""


class ConfigurationError(PonsError):
    """The table cannot be used; the message lists every finding, one a line."""


class RejectedReason(StrEnum):
    """Why an arrival was refused; an inbound channel maps it to its own status."""

    NOT_DICOM = "not_dicom"  # cannot be parsed: C000, 400/0110
    TRUNCATED = "truncated"  # ends inside an element: C000
    INVALID_UID = "invalid_uid"  # missing, too long or malformed UID: A900
    SOP_MISMATCH = "sop_mismatch"  # the data set contradicts its announcement: A900
    STUDY_MISMATCH = "study_mismatch"  # not of the study named in the request: A900, 409
    CONFLICT = "conflict"  # same SOP Instance UID, other content, on_conflict: reject: 0111, 409
    TOO_LARGE = "too_large"  # over the size limit: A700 would be retried, so C000; 413


class Rejected(PonsError):
    """An arrival is refused for good; nothing of it is kept."""

    def __init__(self, reason: RejectedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OrderRefusedReason(StrEnum):
    """Why nothing was done about an order; a channel maps it to its own status."""

    NOT_FOUND = "not_found"  # no such order or batch among the sites that one may see: 404
    INVALID = "invalid"  # metadata or a query that cannot be used: 422
    STATE = "state"  # the order is past what was asked: 409
    VERSION = "version"  # it has changed since it was looked at: 412
    GONE = "gone"  # the result was retracted: 410
    IDEMPOTENCY = "idempotency"  # the key came with another request before: 422


class OrderRefused(PonsError):
    """An order cannot be given, found or changed as asked; nothing was done."""

    def __init__(self, reason: OrderRefusedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PackageRefusedReason(StrEnum):
    """Why an uploaded package was refused; a channel maps it to its own status."""

    DAMAGED = "damaged"  # it ends early, or its checksums do not fit: 422
    TOO_LARGE = "too_large"  # it, or one instance of it, is over a limit: 413
    TOO_MANY = "too_many"  # more entries than are taken: 413
    BOMB = "bomb"  # it unpacks to far more than it is: 413
    UNSAFE = "unsafe"  # names that leave the package, links, devices: 422
    NESTED = "nested"  # an archive inside: 422
    ENCRYPTED = "encrypted"  # 422
    UNSUPPORTED = "unsupported"  # packed in a way that is not taken: 415
    DUPLICATE = "duplicate"  # one name, or one SOP Instance UID, for two contents: 422
    NOT_DICOM = "not_dicom"  # a file that belongs to no study: 422
    EMPTY = "empty"  # no DICOM and no NIfTI: 422
    SEVERAL_STUDIES = "several_studies"  # 422
    SIDECAR = "sidecar"  # not JSON, two of them, or values that cannot be used: 422
    NIFTI = "nifti"  # an image that cannot become DICOM unchanged: 422
    GRADIENTS = "gradients"  # .bval and .bvec are missing or do not fit the image: 422


class PackageRefused(PonsError):
    """What somebody uploaded cannot be taken; the message names files by their place, never by name."""

    def __init__(self, reason: PackageRefusedReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Busy(PonsError):
    """An arrival is refused for now; the sender should try again."""

    def __init__(self, message: str, *, storage_full: bool = False) -> None:
        super().__init__(message)
        self.storage_full = storage_full


class DatabaseUnavailable(PonsError):
    """The database cannot be reached, or cannot write."""

    def __init__(self, message: str, *, storage_full: bool = False, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.storage_full = storage_full
        self.in_doubt = in_doubt


class UnknownPeer(PonsError):
    """The peer is no known site; ``what`` names the fact that did not match."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(message)
        self.what = what


class TryAgain(PonsError):
    """An attempt failed and a later one may succeed."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        after: float | None = None,
        of_payload: bool = False,
        uncertain: bool | None = None,  # what a timeout is unless said otherwise
    ) -> None:
        super().__init__(message)
        self.code = code
        self.after = after
        self.of_payload = of_payload
        self.uncertain = code == "timeout" if uncertain is None else uncertain


class Refused(PonsError):
    """The peer refused for good; retrying the same bytes is pointless."""

    def __init__(
        self, message: str, *, code: str = "", pause: bool = False, stored: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.pause = pause
        self.stored = stored


class ProcessorFailed(PonsError):
    """A processor failed for good; ``detail`` (its last output) goes into the failure report."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class TransformFailed(PonsError):
    """An edit of `transform:` cannot be made on what came; the message names attributes, never values.

    A secret that is not there raises TryAgain instead: somebody can put it there.
    """
