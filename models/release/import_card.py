"""The card of an imported release: whose weights these are, and what was decided about them."""

from pathlib import Path

from models.release.card import format_table
from schemas.releases import Manifest

_UNMEASURED = "Nobody has measured it here: this release has no table of errors."
_CARD = """\
# {name}, version {version}

{intended_use}

**Licence of the weights.** {licence}

## What it is

Networks that others have trained and published, converted for this software without running their
code. Each member is given its picture as its authors did; the estimate is the mean of the members.

| member | from | architecture | input | views |
| --- | --- | --- | ---: | --- |
{members}

## What was decided on import

{decisions}

## How good it is

{table}

The interval is {half_width:g} months on both sides, and no claim of coverage stands behind it.
Measure the release on children of known age before you compare its numbers with anybody's.

## What differs from the originals

- Images come as a viewer shows them. Whole numbers from 0 to 255 are taken as they are; anything
  else is spread over 256 grey levels first.
- Where a mask network finds no hand, the image is refused; the original reads the whole image.
- The sex is never guessed: without one, both readings are given.
- Only "five_crops" among the views is test-time augmentation, where its authors tested so.

## Constancy phantom

`models/phantom.py` draws a hand of {phantom_age:.0f} months, sex {phantom_sex}. This release says
{phantom_value:.2f} ± {phantom_tolerance:.2f} months to it. The drawing is no hand: the value is a
constant, not a measure of quality. Where the mask network finds no hand in it, it is read whole.

## Where it must not be used

- Research only, not for diagnosis, never for the forensic age of a living person.
- Its checkpoints carry the terms of their authors and of their training data (see the licence).
"""


def format_import_card(manifest: Manifest) -> str:
    """Return the card as Markdown."""
    return _CARD.format(
        name=manifest.name,
        version=manifest.version,
        intended_use=manifest.intended_use,
        licence=manifest.licence,
        members="\n".join(
            f"| {one.name} | {one.recipe} | {one.architecture} | {one.input_size} "
            f"| {one.averaging.value} |"
            for one in manifest.members
        ),
        decisions="\n".join(f"- {text}" for text in manifest.decisions or ()),
        table=format_table(manifest.metrics) if manifest.metrics else _UNMEASURED,
        half_width=manifest.calibration.groups[0].half_width_months,
        phantom_age=manifest.phantom.age_months,
        phantom_sex=manifest.phantom.sex,
        phantom_value=manifest.phantom.known_value_months,
        phantom_tolerance=manifest.phantom.tolerance_months,
    )


def write_import_card(path: Path, manifest: Manifest) -> None:
    """Write card.md, replacing the one that is there."""
    path.write_text(format_import_card(manifest), encoding="utf-8")
