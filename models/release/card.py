"""The model card: what a person should know before believing a number."""

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from models.calibration import BAND_EDGES
from schemas.releases import HeatmapMeasures, IntervalGroup, Manifest, MetricRow, TrainingRecord

_UNKNOWN = "not written down"
#: share of a heatmap's months that should lie inside the hand
INSIDE_AIM = 0.95
#: rank correlation with randomised weights from which the card says what that means
PLACE_SHOWS = 0.5
#: what the card says of a release that reads hands upright
_UPRIGHT = " turned until the hand's edges\nlie upright in the middle, without flat borders,"

_CARD = """\
# {name}, version {version}

{intended_use}

**Licence.** {licence}

## What it is

{member_count} network(s) look at the same picture,{upright} squashed to {working} by {working}
pixels and scaled between the percentiles {low} and {high} of the exposed area.
Each gives months; the estimate is their mean. They are told the patient's sex. "views" are what a
network's months are averaged over: "mirror" is the picture and its mirror image. A recipe
(`models/recipes`) with `warm_start` went on from another member: such members err alike more than
strangers would.

| member | architecture | input | views | recipe | error while training (validate part) |
| --- | --- | ---: | --- | --- | ---: |
{members}

## How its networks were trained

| member | hardware | hours | error on the validate part after each pass, months |
| --- | --- | ---: | --- |
{training}

Hours are by the clock, from the first start to the end of the last pass. A member with `warm_start`
began where another one ended. What was tried beside this, and what a lower error would need, stands
in `models/EXPERIMENTS.md`.

## What it was trained on

{training_data}

Annotations: sha256 `{data_digest}`.
Split by patient: `models/training/split.csv`, sha256
`{split_digest}`.
Children of the test part were used for the tables below alone; those of the calibrate part for the
intervals and a gate's bounds alone, together with those of the validate part, which also chose
between recipes.

## How good it is

Mean absolute error against single clinical reports, on children that no member has seen. Such a
label has an error of its own: published networks reach 6.1 to 6.8 months against these labels and
3.9 to 4.7 on the challenge's own test set, which has six readers an image. Figures of the two kinds
must not be compared.

{table}

"as DICOM files" are half- and full-resolution images of test children, each made into a DICOM file
(8 or 12 bits, MONOCHROME1 or 2, plain, RLE or JPEG-LS) and read from it by the worker's own
function; "native aspect" are such images read as decoded. Rows without a prefix are the 299 by 299
files. "as in the clinic" is every child
once, at native aspect where there is such an image, in bands of the *estimated* age: what the
intervals are fitted for; bands with fewer than 100 children are pooled. "interval covers" is the
share of labels inside the stated {coverage:.0%} interval. Images that the gate would refuse are in
the table all the same.

## Which images it reads

{gate_words}

| pictures | n | refused | for the right reason |
| --- | ---: | ---: | ---: |
{gate_rows}

Hands are to be read, all others refused. Made-up pictures come from hands of the test part; how
they are made stands in `models/training/gate/made_up.py`.

## The same hand in another way

The first {change_n} hands at native aspect, read with gate and mending, and again as another
detector, archive or technician might have shown them (`models/evaluation/variants.py`). "as a DICOM
file": all of them, against the pictures that the files were made of.

| change | n | mean change, months | mean shift | MAE | newly refused |
| --- | ---: | ---: | ---: | ---: | ---: |
{changes}

## Intervals

Split-conformal, {coverage:.0%}, by sex and estimated age:

| sex | estimated age, months | ± months | children |
| --- | --- | ---: | ---: |
{groups}

## Heatmaps

{heatmaps}

## Constancy phantom

`models/phantom.py` draws a hand of {phantom_age:.0f} months, sex {phantom_sex}. This release says
{phantom_value:.2f} ± {phantom_tolerance:.2f} months to it. The drawing is no hand: the value is a
constant, not a measure of quality.

## Where it must not be used

- Research only, not for diagnosis, never for the forensic age of a living person.
- Below {youngest:.0f} and above {oldest:.0f} months there were no labels, under 24 months few.
- Two hospitals in the United States: error on other populations and devices is unknown.
- Feet, lateral and oblique views, malformations and bone dysplasia were not in the data, real casts
  and implants neither; nobody knows what the gate makes of them.
- Fine detail is lost: the growth plate of a small child is a pixel wide at the size that these
  networks read.

Cite: Halabi SS, Prevedello LM, Kalpathy-Cramer J, et al. The RSNA Pediatric Bone Age Machine
Learning Challenge. Radiology 2018;290:498-503.
"""


def format_table(rows: Sequence[MetricRow]) -> str:
    """Return rows of the evaluation as a Markdown table."""
    lines = [
        (
            "| children | n | MAE (95 % interval), months | RMSE | within 6 | within 12 "
            "| within 24 | interval covers |"
        ),
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.group} | {row.n} | {row.mae_months:.2f} ({row.mae_low:.2f}-{row.mae_high:.2f}) "
        f"| {row.rmse_months:.2f} | {row.within_6:.0%} | {row.within_12:.0%} "
        f"| {row.within_24:.0%} | {row.coverage:.0%} |"
        for row in rows
    ]
    return "\n".join(lines)


def _format_members(manifest: Manifest) -> str:
    return "\n".join(
        f"| {one.name} | {one.architecture} | {one.input_size} | {one.averaging.value} "
        f"| {one.recipe} | {one.validation_mae_months:.2f} |"
        for one in manifest.members
    )


def _format_training(manifest: Manifest) -> str:
    lines = []
    for one in manifest.members:
        told = one.training or TrainingRecord()
        hours = _UNKNOWN if told.hours is None else f"{told.hours:.1f}"
        curve = [
            f"{size} px: " + ", ".join(f"{error:.2f}" for _, error in passes)
            for size, passes in groupby(told.curve, key=itemgetter(0))
        ]
        words = "; ".join(curve) or _UNKNOWN
        lines.append(f"| {one.name} | {told.hardware or _UNKNOWN} | {hours} | {words} |")
    return "\n".join(lines)


def _format_groups(manifest: Manifest) -> str:
    return "\n".join(
        f"| {one.sex} | {_name_band(one)} | {one.half_width_months:.1f} | {one.n} |"
        for one in manifest.calibration.groups
    )


def _name_band(group: IntervalGroup) -> str:
    """Return the bounds that a band has; those of the scale are none."""
    is_first, is_last = group.low_months <= 0, group.high_months >= BAND_EDGES[-1]
    if is_first and is_last:
        return "all"
    if is_first:
        return f"below {group.high_months:.0f}"
    if is_last:
        return f"{group.low_months:.0f} and more"
    return f"{group.low_months:.0f} to {group.high_months:.0f}"


def _format_gate(manifest: Manifest) -> str:
    lines = []
    for row in manifest.gate_metrics:
        known = row.recognised
        right = "" if known is None else f"{known} ({known / row.n:.1%})"
        refused = f"{row.refused} ({row.refused / row.n:.1%})"
        lines.append(f"| {row.pictures} | {row.n} | {refused} | {right} |")
    return "\n".join(lines)


def _say_gate(manifest: Manifest) -> str:
    gate = manifest.gate
    if gate is None:
        return (
            "The gate knows size, aspect, contrast and brightness alone: it lets two hands, parts "
            "of hands and turned hands pass, and an upside-down hand gives a wrong number."
        )
    return (
        f"A network of its own sees the exposed area at {gate.input_size} pixels in all four turns "
        "and both polarities. It refuses what is no whole single hand, and says how a turned or "
        "inverted hand has to be mended; the report then carries a flag. Trained on "
        f"{gate.training_data}"
    )


def _format_changes(manifest: Manifest) -> str:
    return "\n".join(
        f"| {row.change} | {row.n} | {row.mean_change_months:.2f} | {row.mean_shift_months:+.2f} "
        f"| {row.mae_months:.2f} | {row.refused} |"
        for row in manifest.changes
    )


def _shown_through(similarity: float) -> str:
    if similarity > PLACE_SHOWS:
        return ": where the hand lies shows through."
    return "."


def say_heatmaps(found: HeatmapMeasures | None) -> str:
    """Return what was measured on the heatmaps, in sentences."""
    if found is None:
        return "Nobody has measured the heatmaps of this release."
    inside = (
        f"On {found.n} test children {found.inside_hand:.0%} of the absolute months lie in the "
        f"hand (aim: {INSIDE_AIM:.0%}), which covers {found.hand_area:.0%} of the image."
    )
    words = [inside]
    if found.inside_regions is not None and found.regions_area is not None:
        words.append(
            f"On {found.regions_n} of them the ossification regions that others have outlined hold "
            f"{found.inside_regions:.0%} of the months on {found.regions_area:.0%} of the image."
        )
    if found.randomised_similarity is not None:
        words.append(
            "With randomised weights the fields keep their order with a rank correlation of "
            f"{found.randomised_similarity:.2f} (0: the weights alone decide; 1: the image alone)"
            + _shown_through(found.randomised_similarity)
        )
    if found.marker_share is not None and found.border_share is not None:
        words.append(
            f"A marker drawn into a corner draws {found.marker_share:.1%} of the months to itself, "
            f"a white border {found.border_share:.1%}."
        )
    return " ".join(words)


def format_card(manifest: Manifest) -> str:
    """Return the card of a measured release as Markdown."""
    clip = manifest.preprocessing.clip_percent
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        intended_use=manifest.intended_use,
        licence=manifest.licence,
        member_count=len(manifest.members),
        working=manifest.preprocessing.working_size,
        low=f"{clip:g}",
        upright=_UPRIGHT if manifest.preprocessing.upright else "",
        high=f"{100 - clip:g}",
        members=_format_members(manifest),
        training=_format_training(manifest),
        training_data=manifest.training_data,
        data_digest=manifest.training_data_sha256,
        split_digest=manifest.split_sha256,
        table=format_table(manifest.metrics),
        coverage=manifest.calibration.coverage,
        gate_words=_say_gate(manifest),
        gate_rows=_format_gate(manifest),
        change_n=manifest.changes[0].n if manifest.changes else 0,
        changes=_format_changes(manifest),
        heatmaps=say_heatmaps(manifest.heatmaps),
        groups=_format_groups(manifest),
        phantom_age=manifest.phantom.age_months,
        phantom_sex=manifest.phantom.sex,
        phantom_value=manifest.phantom.known_value_months,
        phantom_tolerance=manifest.phantom.tolerance_months,
        youngest=manifest.youngest_months,
        oldest=manifest.oldest_months,
    )


def write_card(path: Path, manifest: Manifest) -> None:
    """Write card.md, replacing the one that is there."""
    path.write_text(format_card(manifest), encoding="utf-8")
