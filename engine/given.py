"""The `given:` of a table's test: a study as its author describes it.

Enter: attributes, series and facts of the arrival as the table has them, or the names of files. Leaves:
what a test is run with; whatever cannot be is complained of, with its position. What is not said is
what is likely: the only site, the first way in, noon, one series of one instance.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.attribute import resolve
from engine.finding import Location, did_you_mean, shown
from engine.model import InstanceFacts, Report, ResultStatus, Study, uid_from
from engine.reading import Reading
from engine.table import Given, GivenResult

MAX_INSTANCES = 100_000  # in the studies of one test

ALGORITHM = {"name": "test", "version": "test"}
"""Who made a result that does not say so."""

_FACTS = ("site", "inbound", "calling_ae_title", "called_ae_title", "time")
_FILES = ("dicom_json", "folder")
_STRUCTURE = (*_FACTS, "series", *_FILES, "result")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


class GivenReader:
    """Builds the study of one test."""

    def __init__(self, reading: Reading, location: Location, name: str) -> None:
        self._reading = reading
        self._location = location
        self._name = name
        self._before = len(reading.findings)  # findings of others
        self._left = MAX_INSTANCES

    def read(self, given: Mapping[str, Any]) -> Given | None:
        """What is given, or None when it has errors."""
        facts = {fact: self._fact(fact, given) for fact in _FACTS}
        own = dict(self._attributes(given, self._location, _STRUCTURE))
        files = self._files(given)
        instances = tuple(self._instances(given, own)) if files is None else ()
        result = self._result(given["result"]) if "result" in given else None
        if any(one.severity == "error" for one in self._reading.findings[self._before :]):
            return None
        study = Study(
            site=facts["site"],
            study_instance_uid=uid_from("table test", self._name),
            revision=1,
            inbound=facts["inbound"],
            calling_ae_title=facts["calling_ae_title"],
            called_ae_title=facts["called_ae_title"],
            received_at=datetime.fromisoformat(f"2000-01-01T{facts['time']}:00"),
            instances=instances,
        )
        return Given(study, files, own if files is not None else {}, result)

    def _files(self, given: Mapping[str, Any]) -> Path | None:
        """The file or folder that holds the study, if one does."""
        named = [key for key in (*_FILES, "series") if key in given]
        if len(named) > 1:
            self._complain((*self._location, named[1]), f"{named[0]} says already what the study holds")
        return self._path(named[0], given[named[0]]) if named and named[0] in _FILES else None

    def _path(self, key: str, value: Any) -> Path | None:
        """A path of the test, which starts at the folder of the file that holds the test."""
        location = (*self._location, key)
        if not isinstance(value, str) or not value:
            self._complain(location, "must be a path, relative to this file")
            return None
        document = self._reading.document
        path = document.base / Path(document.value_at(location).file).parent / value
        if not (path.is_dir() if key == "folder" else path.is_file()):
            # An engine runs without the files of its table's tests; `pons test` does not.
            word = "folder" if key == "folder" else "file"
            message = f"no {word} {shown(value)} in {path.parent}; the test cannot be run"
            self._reading.warn(location, message, "missing-file")
        return path

    def _result(self, value: Any) -> GivenResult | None:
        """The result that processors are to give, written out or in a file."""
        location = (*self._location, "result")
        if not isinstance(value, dict):
            path = self._path("result", value)
            return GivenResult(file=path) if path is not None else None
        status = value.get("status", ResultStatus.FINAL)
        if status not in list(ResultStatus):
            known = ", ".join(ResultStatus)
            self._complain((*location, "status"), f"no status {shown(str(status))}; one of {known}")
            return None
        written = {"algorithm": ALGORITHM} | {key: one for key, one in value.items() if key != "status"}
        report = self._reading.block(Report, written, location)
        document = self._reading.document
        folder = document.base / Path(document.value_at(location).file).parent
        return GivenResult(ResultStatus(status), report, folder) if report is not None else None

    def _complain(self, location: Location, message: str) -> None:
        self._reading.complain(location, message)

    def _fact(self, fact: str, given: Mapping[str, Any]) -> str:
        """A fact as given, or what it most likely is."""
        location = (*self._location, fact)
        if fact not in given:
            return self._default(fact, given)
        value = given[fact]
        if not isinstance(value, str) or not value:
            self._complain(location, "must be text")
        elif fact == "time" and not _CLOCK.fullmatch(value):
            self._complain(location, 'must be a time of day such as "06:30"')
        elif fact in ("site", "inbound"):
            known = self._reading.names("sites" if fact == "site" else "inbound")
            if value not in known:
                self._complain(location, f"no {fact} {shown(value)}{did_you_mean(value, known)}")
        return str(value)

    def _default(self, fact: str, given: Mapping[str, Any]) -> str:
        reading = self._reading
        if fact == "time":
            return "12:00"
        if fact == "inbound":
            return next(iter(reading.names("inbound")), "")
        if fact == "site":
            sites = reading.names("sites")
            if len(sites) != 1:
                self._complain(
                    self._location, "missing key 'site'; the study must come from one of the sites"
                )
            return next(iter(sites), "")
        if fact == "calling_ae_title":
            names = reading.names("sites")
            site = reading.sites.get(str(given.get("site", names[0] if names else "")))
            return site.ae_titles[0] if site and site.ae_titles else ""
        declared = reading.inbound.get(str(given.get("inbound", next(iter(reading.inbound), ""))))
        title = getattr(declared.settings, "ae_title", None) if declared else None
        return title if isinstance(title, str) else reading.engine.ae_title

    def _attributes(
        self, given: Mapping[str, Any], location: Location, structure: Sequence[str]
    ) -> Iterator[tuple[str, Any]]:
        for name, value in given.items():
            if name in structure:
                continue
            try:
                named = resolve(name)
            except ValueError as error:
                hint = "" if "did you mean" in str(error) else did_you_mean(name, structure)
                self._complain((*location, name), f"{error}{hint}")
                continue
            values = value if isinstance(value, list) else [value]
            if any(one is None or isinstance(one, dict | list | bool) for one in values):
                self._complain((*location, name), "must be a value or a list of values")
                continue
            yield named.name, value

    def _instances(self, given: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[InstanceFacts]:
        series = given.get("series", [{}])
        location = (*self._location, "series")
        if not isinstance(series, list) or not all(isinstance(one, dict) for one in series):
            self._complain(
                location, "must be a list of mappings, for example [{Modality: MR, instances: 60}]"
            )
            return
        for number, block in enumerate(series, 1):
            here = (*location, number - 1)
            shared = {**own, **dict(self._attributes(block, here, ("instances",)))}
            uid = str(shared.get("SeriesInstanceUID") or uid_from("table test", self._name, str(number)))
            members = self._members(block.get("instances", 1), (*here, "instances"))
            for count, member in enumerate(members, 1):
                attributes = {**shared, **member}
                yield InstanceFacts(
                    series_instance_uid=uid,
                    sop_instance_uid=uid_from("table test", self._name, str(number), str(count)),
                    sop_class_uid=str(attributes.get("SOPClassUID", _CT)),
                    transfer_syntax_uid=str(attributes.get("TransferSyntaxUID", _EXPLICIT_LITTLE)),
                    attributes=attributes,
                )

    def _members(self, value: Any, location: Location) -> Iterator[dict[str, Any]]:
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            count = len(value)
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
            count = value
        else:
            self._complain(location, "must be a count, or a list with a mapping for each instance")
            return
        self._left -= count
        if self._left < 0:
            self._complain(location, f"a test has at most {MAX_INSTANCES} instances")
            return
        if isinstance(value, list):
            for index, one in enumerate(value):
                yield dict(self._attributes(one, (*location, index), ()))
        else:
            yield from itertools.repeat({}, count)
