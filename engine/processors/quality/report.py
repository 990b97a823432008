"""From numbers to a report: measurements and a protocol enter, an `engine.model.Report` leaves.

The report states numbers and the rule each was held against. It says whether a series follows a
protocol, and never anything of the person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib.metadata import version

from pydicom.uid import UID

from engine.model import Algorithm, Artefact, Code, Finding, Flag, Range, Report
from engine.processors.quality.measures import MEASURES, Measured, Value
from engine.processors.quality.protocol import Judgement, Protocol, Rule, judge

DISCLAIMER = "technical quality control, not for diagnostic use"

PROTOCOL_CHECK = Code(value="protocol-check", scheme="99PONS", meaning="Protocol check")
WITHIN = Code(value="within-protocol", scheme="99PONS", meaning="Within protocol")
OUTSIDE = Code(value="out-of-protocol", scheme="99PONS", meaning="Out of protocol")

_SEX: Mapping[str, Code] = {
    "M": Code(value="M", scheme="DCM", meaning="Male"),
    "F": Code(value="F", scheme="DCM", meaning="Female"),
    "O": Code(value="O", scheme="DCM", meaning="Other"),
}


def build_report(
    measured: Measured, protocol: Protocol, artefacts: tuple[Artefact, ...], remarks: Iterable[str]
) -> Report:
    """Judge each measure by its rule and say so in findings, sentences and one verdict.

    ``remarks`` are further sentences for the narrative: what was left out, and why.
    """
    judgements = [judge(rule, measured.values.get(rule.measure, ())) for rule in protocol.rules]
    failed = [each for each in judgements if each.outcome == "fail"]
    warned = [each for each in judgements if each.outcome == "warning"]
    verdict = Finding(
        concept=PROTOCOL_CHECK,
        value=OUTSIDE if failed else WITHIN,
        flag=Flag.ABNORMAL if failed else Flag.NORMAL,
        group="Verdict",
        comment=protocol.name,
    )
    findings = [verdict]
    for judgement in judgements:
        findings.extend(_findings(judgement, measured))
    sentences = [f"Protocol: {protocol.name}."]
    sentences += [_sentence(each, measured) for each in (*failed, *warned)]
    if not failed and not warned:
        sentences.append("Every rule that could be checked is met.")
    sentences += [_unchecked(each, measured) for each in judgements if each.outcome == "unchecked"]
    return Report(
        outcome="failed" if failed else "warned" if warned else "passed",
        title="Diffusion MR quality control",
        findings=tuple(findings),
        narrative="\n".join([*sentences, *remarks]),
        impression=_impression(failed, warned),
        artefacts=artefacts,
        algorithm=Algorithm(name="Pons quality control", version=version("pons"), manufacturer="Pons"),
        disclaimer=DISCLAIMER,
    )


def _findings(judgement: Judgement, measured: Measured) -> list[Finding]:
    rule = judgement.rule
    measure = MEASURES[rule.measure]
    values = measured.values.get(rule.measure, ())
    span = Range(low=rule.low, high=rule.high) if (rule.low, rule.high) != (None, None) else None
    note = measured.notes.get(rule.measure, "")
    comment = _rule_text(rule)
    if not values:
        if judgement.outcome == "unchecked":
            return []
        return [
            Finding(
                concept=rule.concept,
                value="not stated",
                flag=Flag.ABNORMAL,
                group=measure.group,
                comment="; ".join(filter(None, [note, comment])),
            )
        ]
    return [
        Finding(
            concept=rule.concept,
            value=_SEX.get(value, value) if rule.measure == "sex" and isinstance(value, str) else value,
            unit=measure.unit,
            reference_range=span,
            # What must be there and is not has no value of its own: the flag falls on those that are.
            flag=Flag.ABNORMAL if judgement.lacking and flag is Flag.NORMAL else flag,
            group=measure.group,
            comment="; ".join(filter(None, [_explained(rule.measure, value), note, comment])),
        )
        for value, flag in zip(values, judgement.flags, strict=True)
    ]


def _explained(measure: str, value: Value) -> str:
    if measure == "transfer_syntax":
        return UID(str(value)).name
    return "90 or older" if measure == "age" and value == 90 else ""


def _impression(failed: list[Judgement], warned: list[Judgement]) -> str:
    warnings = f"warnings: {_names(warned)}" if warned else ""
    if failed:
        return "; ".join(filter(None, [f"protocol check failed: {_names(failed)}", warnings]))
    return ", ".join(filter(None, ["within protocol", warnings]))


def _names(judgements: list[Judgement]) -> str:
    return ", ".join(_name(each.rule) for each in judgements)


def _name(rule: Rule) -> str:
    """The concept in running text: lower case but for abbreviations (`b0`, `SNR`, `ADC`)."""
    return " ".join(
        word if sum(map(str.isupper, word)) > 1 else word.lower() for word in rule.concept.meaning.split()
    )


def _sentence(judgement: Judgement, measured: Measured) -> str:
    rule = judgement.rule
    values = measured.values.get(rule.measure, ())
    name = rule.concept.meaning[:1].upper() + _name(rule)[1:]
    lead = "" if judgement.outcome == "fail" else "Warning: "
    if not values:
        why = measured.notes.get(rule.measure, "the images do not state it")
        said = f"{name} is required but missing: {why}."
    else:
        said = f"{name} is {_listing(values, rule.measure)}; the protocol asks for {_rule_text(rule)}."
    return f"{lead}{said} {rule.message}".strip()


def _unchecked(judgement: Judgement, measured: Measured) -> str:
    rule = judgement.rule
    why = measured.notes.get(rule.measure, "the images do not state it")
    return f"Not checked: {_name(rule)} ({why})."


def _rule_text(rule: Rule) -> str:
    """The rule in words: `1.85 to 2.15 mm`, `at least 2`, `one of 0, 1000 s/mm2`."""
    unit = _unit_text(rule.measure)
    parts: list[str] = []
    if rule.low is not None and rule.low == rule.high:
        parts.append(f"{rule.low}{unit}")
    elif rule.low is not None and rule.high is not None:
        parts.append(f"{rule.low} to {rule.high}{unit}")
    elif rule.low is not None:
        parts.append(f"at least {rule.low}{unit}")
    elif rule.high is not None:
        parts.append(f"at most {rule.high}{unit}")
    if rule.one_of:
        parts.append(f"{'one of ' if len(rule.one_of) > 1 else ''}{', '.join(map(str, rule.one_of))}{unit}")
    if rule.must_include:
        parts.append(f"all of {', '.join(map(str, rule.must_include))}{unit}")
    return " and ".join(parts)


def _listing(values: tuple[Value, ...], name: str) -> str:
    text = ", ".join(f"{value.normalize():f}" if isinstance(value, Decimal) else value for value in values)
    return f"{text}{_unit_text(name)}"


def _unit_text(name: str) -> str:
    """A UCUM unit as people write it, with its space; nothing for a plain number or a count."""
    unit = MEASURES[name].unit
    if unit is None or unit.value == "1" or unit.value.startswith("{"):
        return ""
    spoken = {"deg": "degrees", "a": "years"}
    return f" {spoken.get(unit.value, unit.value)}"
