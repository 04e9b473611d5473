"""`boneage release`: which weights there are, how good they are, whether they are whole."""

import os
from typing import Annotated

import typer

from schemas.releases import Manifest
from worker.cli.options import (
    ConfigOption,
    JsonOption,
    ReasonOption,
    YesOption,
    all_settings,
    settings,
)
from worker.cli.output import confirm, print_facts, print_json, print_table
from worker.cli.release_build import build
from worker.cli.release_import import import_checkpoints

commands = typer.Typer(no_args_is_help=True, help="The releases: weights, manifest and metrics.")
commands.command("import")(import_checkpoints)
commands.command("build")(build)

NameArgument = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Name or folder. Default: the one in use.")
]


@commands.command("list")
def list_them(*, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the releases that are here; the one that reads new images is marked.

    Example: boneage release list
    """
    from models.release.manifest import find_release, list_releases, read_manifest
    from worker.app import releases

    in_use = releases.release(settings(config)).name
    manifests = [read_manifest(find_release(name))[0] for name in list_releases()]
    if as_json:
        print_json([_summary(one) | {"in_use": one.name == in_use} for one in manifests])
        return
    print_table(
        ("RELEASE", "VERSION", "MEMBERS", "ERROR OF HELD-OUT CHILDREN", "IN USE"),
        [
            (
                one.name,
                one.version,
                str(len(one.members)),
                _overall(one),
                "yes" if one.name == in_use else "",
            )
            for one in manifests
        ],
        none="There is no release.",
    )


@commands.command("show")
def show(
    name: NameArgument = None, *, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show what a release is made of, how good it is, and under which terms it may be used.

    Example: boneage release show
    """
    from models.release.manifest import find_release, read_manifest
    from worker.app import releases

    folder = find_release(name) if name else releases.release_folder(settings(config))
    manifest, identity = read_manifest(folder)
    if as_json:
        print_json({"digest": identity.digest} | manifest.model_dump(mode="json"))
        return
    print_facts(
        {
            "Release": f"{manifest.name}, version {manifest.version}",
            "Digest": identity.digest,
            "Intended use": manifest.intended_use,
            "Licence of the weights": manifest.licence,
            "Licence of the software": "Apache-2.0",
            "Trained on": manifest.training_data,
            "Ages": f"{manifest.youngest_months:.0f} to {manifest.oldest_months:.0f} months",
            "Members": ", ".join(
                f"{one.name} ({one.architecture}, {one.input_size} px)" for one in manifest.members
            ),
        }
    )
    for decision in manifest.decisions or ():
        print(f"  {decision}")
    print()
    print_table(
        ("GROUP", "N", "MEAN ERROR (95 %)", "RMSE", "WITHIN 12 MO", "COVERAGE"),
        [
            (
                row.group,
                str(row.n),
                f"{row.mae_months:.1f} ({row.mae_low:.1f} to {row.mae_high:.1f}) mo",
                f"{row.rmse_months:.1f} mo",
                f"{row.within_12:.0%}",
                f"{row.coverage:.0%}",
            )
            for row in manifest.metrics
        ],
        none="This release has no metrics.",
    )


@commands.command("verify")
def verify(
    name: NameArgument = None, *, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Compare every file of a release with the checksum in its manifest (exit code 1: differs).

    Example: boneage release verify
    """
    from models.release.manifest import verify_release
    from worker.app import releases

    identity = verify_release(name or releases.release_folder(settings(config)))
    if as_json:
        digest = identity.digest
        print_json({"name": identity.name, "version": identity.version, "digest": digest})
        return
    print(f"Release {identity.name} is whole; its digest is {identity.digest}.")


@commands.command("use")
def use(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a release that is here.")],
    *,
    reason: ReasonOption,
    yes: YesOption = False,
    config: ConfigOption = None,
) -> None:
    """Let another release read new images, from the next start on; old results stay as they are.

    It is checked first: every checksum, and the constancy phantom is read with it. Then its name
    is written into config.toml, and into the audit trail with your name.

    Example: boneage release use rsna-2026.1 --reason "validated on our own images"
    """
    from models.release.manifest import find_release, read_manifest, verify_release
    from worker.app import operators, readers, releases
    from worker.operations.release_choice import choose_release

    found = all_settings(config)
    before = releases.release_name(found.config) or "none"
    verify_release(name)
    manifest, identity = read_manifest(find_release(name))
    deviation = readers.phantom_deviation(found.config, name)
    tolerance = manifest.phantom.tolerance_months
    print(f"Release {identity.name}, version {identity.version}: whole, {_overall(manifest)}.")
    print(f"The phantom came out {deviation:+.3f} months from its known value (± {tolerance:.2f}).")
    if abs(deviation) > tolerance:
        raise typer.Exit(1)
    confirm(f"Read new images with {name} in place of {before}, from the next start on?", yes=yes)
    choose_release(name, file=found.file, environment=os.environ)
    operators.note_release(found.config, before=before, after=name, reason=reason)
    print(f"{found.file} says so now. Restart `boneage serve`; then `boneage selftest`.")


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "licence": manifest.licence,
        "members": [member.name for member in manifest.members],
        "metrics": [row.model_dump() for row in manifest.metrics],
    }


def _overall(manifest: Manifest) -> str:
    rows = [row for row in manifest.metrics if row.group in ("all", "overall")]
    return f"{rows[0].mae_months:.1f} mo (n = {rows[0].n})" if rows else ""
