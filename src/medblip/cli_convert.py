"""`medblip convert`: one command for each kind of published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

convert_app = typer.Typer(
    help="Bring published weights into the formats of this project; docs/convert.md says what is "
    "taken.\n\nExample: `medblip convert eva eva_vit_g.pth bases/eva`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@convert_app.command("eva")
def convert_eva(
    source: Annotated[Path, typer.Argument(help="LAVIS's eva_vit_g.pth.")],
    out: Annotated[Path, typer.Argument(help="New folder for the vision base.")],
    layers: Annotated[int, typer.Option(min=1, help="Blocks to keep; BLIP-2 keeps 39.")] = 39,
    ln_vision: Annotated[
        Path | None, typer.Option(help="BLIP-2 checkpoint of LAVIS with the trained final norm.")
    ] = None,
) -> None:
    """EVA-CLIP's ViT-g/14 as LAVIS publishes it -> a vision base.

    Example: `medblip convert eva eva_vit_g.pth bases/eva`
    """
    from medblip.model.conversion import convert_eva as run_conversion

    _print_conversion(run_conversion(source, out, layers=layers, ln_vision=ln_vision))


@convert_app.command("blip2")
def convert_blip2(
    source: Annotated[str, typer.Argument(help="Folder or hub id of a BLIP-2 checkpoint.")],
    out: Annotated[Path, typer.Argument(help="New folder for vision/ and qformer/.")],
    revision: Annotated[str | None, typer.Option(help="Commit or tag of a hub id.")] = None,
) -> None:
    """A BLIP-2 checkpoint of transformers -> a vision base and a start for the MedQFormer.

    Example: `medblip convert blip2 Salesforce/blip2-flan-t5-xl bases/blip2`
    """
    from medblip.model.conversion import convert_blip2 as run_conversion

    _print_conversion(run_conversion(source, out, revision=revision))


@convert_app.command("reference")
def convert_reference(
    source: Annotated[Path, typer.Argument(help="epochN.pth of the reference repository.")],
    out: Annotated[Path, typer.Argument(help="New checkpoint folder.")],
    language: Annotated[
        str, typer.Option(help="Folder or hub id of the language model it was trained on.")
    ],
    revision: Annotated[str | None, typer.Option(help="Commit or tag of that hub id.")] = None,
    vision_config: Annotated[
        Path | None, typer.Option(help="config.json of another vision tower than ViT-g.")
    ] = None,
    stored_as: Annotated[
        str, typer.Option(help="Voxel axes of the files it was trained on: RAS, LPS, LIA, ...")
    ] = "RAS",
) -> None:
    """A state dict of the paper's reference repository -> a checkpoint.

    Example: `medblip convert reference epoch10.pth model --language google/flan-t5-xl`
    """
    from medblip.model.conversion import convert_reference as run_conversion

    done = run_conversion(
        source,
        out,
        language=language,
        revision=revision,
        vision_config=vision_config,
        stored_as=stored_as,
    )
    _print_conversion(done)


def _print_conversion(done: Any) -> None:
    for line in done.lines():
        print(line)


__all__ = ["convert_app"]
