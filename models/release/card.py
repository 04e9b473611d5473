"""The model card: what a person should know before believing a number."""

from collections.abc import Sequence
from pathlib import Path

from schemas.releases import Manifest, MetricRow

_CARD = """\
# {name}, version {version}

{intended_use}

**Licence.** {licence}

## What it is

{member_count} network(s) look at the same picture, squashed to {working} by {working} pixels and
scaled between the percentiles {low} and {high} of the exposed area. Each gives months; the estimate
is their mean. They are told the patient's sex. A recipe (`models/recipes`) with `warm_start` went
on from another member: such members err alike more than strangers would.

| member | architecture | input | recipe | error while training (validate part) |
| --- | --- | ---: | --- | ---: |
{members}

## What it was trained on

{training_data}

Annotations: sha256 `{data_digest}`.
Split by patient: `models/training/split.csv`, sha256
`{split_digest}`.
Children of the test part were used for this table alone; those of the calibrate part for the
intervals alone.

## How good it is

Mean absolute error against single clinical reports, on children that no member has seen. Such a
label has an error of its own: published networks reach 6.1 to 6.8 months against these labels and
3.9 to 4.7 on the challenge's own test set, which has six readers an image. Figures of the two kinds
must not be compared.

{table}

"native aspect" are half- and full-resolution images of test children that went the way of a
clinical image; the other rows are the 299 by 299 files. "interval covers" is the share of labels
inside the stated {coverage:.0%} interval. The gate would refuse {refused} of the {asked} test
images; they are in the table all the same. "some native" are the first of those children again: as
they are, and changed as another detector, VOI LUT or archive might (`models/training/variants.py`).

## Intervals

Split-conformal, {coverage:.0%}, by sex and estimated age:

| sex | estimated age, months | ± months | children |
| --- | --- | ---: | ---: |
{groups}

## Constancy phantom

`models/phantom.py` draws a hand of {phantom_age:.0f} months, sex {phantom_sex}. This release says
{phantom_value:.2f} ± {phantom_tolerance:.2f} months to it. The drawing is no hand: the value is a
constant, not a measure of quality.

## Where it must not be used

- Research only, not for diagnosis, never for the forensic age of a living person.
- Below {youngest:.0f} and above {oldest:.0f} months there were no labels, under 24 months few.
- Two hospitals in the United States: error on other populations and devices is unknown.
- Feet, both hands, casts, implants, malformations and bone dysplasia were not in the data; the gate
  is simple and lets many of them pass.
- Fine detail is lost: the growth plate of a small child is a pixel wide at the size that these
  networks read. A release with larger inputs and more members is to follow.

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
        f"| {one.name} | {one.architecture} | {one.input_size} | {one.recipe} "
        f"| {one.validation_mae_months:.2f} |"
        for one in manifest.members
    )


def _format_groups(manifest: Manifest) -> str:
    return "\n".join(
        f"| {one.sex} | {one.low_months:.0f} to {one.high_months:.0f} "
        f"| {one.half_width_months:.1f} | {one.n} |"
        for one in manifest.calibration.groups
    )


def format_card(manifest: Manifest, *, refused: int) -> str:
    """Return the card as Markdown.

    Args:
        manifest: with its metrics.
        refused: how many of the test images the gate would refuse.
    """
    asked = sum(row.n for row in manifest.metrics if row.group in ("all", "native aspect, all"))
    clip = manifest.preprocessing.clip_percent
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        intended_use=manifest.intended_use,
        licence=manifest.licence,
        member_count=len(manifest.members),
        working=manifest.preprocessing.working_size,
        low=f"{clip:g}",
        high=f"{100 - clip:g}",
        members=_format_members(manifest),
        training_data=manifest.training_data,
        data_digest=manifest.training_data_sha256,
        split_digest=manifest.split_sha256,
        table=format_table(manifest.metrics),
        coverage=manifest.calibration.coverage,
        refused=refused,
        asked=asked,
        groups=_format_groups(manifest),
        phantom_age=manifest.phantom.age_months,
        phantom_sex=manifest.phantom.sex,
        phantom_value=manifest.phantom.known_value_months,
        phantom_tolerance=manifest.phantom.tolerance_months,
        youngest=manifest.youngest_months,
        oldest=manifest.oldest_months,
    )


def write_card(path: Path, manifest: Manifest, *, refused: int) -> None:
    """Write card.md, replacing the one that is there."""
    path.write_text(format_card(manifest, refused=refused), encoding="utf-8")
