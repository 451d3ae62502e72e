"""The processor's files in a checkpoint folder: there, and the tokenizer's as they were saved.

Another tokenizer loads without a word and gives every text other ids. So its files are listed with
their hashes when a processor is saved, and compared before one is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers.utils import PROCESSOR_NAME

from medblip.errors import InputError
from medblip.model.pretrained.manifest import differences, write_manifest

TOKENIZER_MANIFEST = "tokenizer_manifest.json"
# Whatever tokenizers of transformers may read from a folder, beside the vocabulary files that a
# tokenizer names itself.
TOKENIZER_FILES = frozenset(
    {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "tokenizer.model",
        "spiece.model",
        "sentencepiece.bpe.model",
    }
)


def list_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Write ``tokenizer_manifest.json``: size and SHA-256 of each tokenizer file in ``folder``."""
    own = set(getattr(tokenizer, "vocab_files_names", {}).values())
    write_manifest(folder, TOKENIZER_MANIFEST, TOKENIZER_FILES | own)


def check_processor(folder: Path) -> None:
    """Raise InputError if ``folder`` holds no processor, or another tokenizer than was saved.

    Folders of before there was a manifest are taken as they are.
    """
    if not (folder / PROCESSOR_NAME).is_file():
        raise InputError(
            f"{folder.name}/{PROCESSOR_NAME}",
            "this file is missing, so the folder holds no processor",
            "copy the whole checkpoint folder, or save the processor with `save_pretrained`",
            code="no-processor",
        )
    _check_settings(folder / PROCESSOR_NAME)
    if not (folder / TOKENIZER_MANIFEST).is_file():
        return
    found = differences(folder, TOKENIZER_MANIFEST, TOKENIZER_FILES)
    if found:
        raise InputError(
            f"{folder.name}, tokenizer",
            f"not the one that the model was trained with: {'; '.join(found)}",
            "copy the tokenizer's files again from where the checkpoint was made",
            code="other-tokenizer",
        )


def _check_settings(file: Path) -> None:
    try:
        if not isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file.parent.name}/{file.name}",
            f"is not readable as JSON ({error})",
            "copy the whole checkpoint folder, or save the processor with `save_pretrained`",
            code="bad-processor",
        ) from error


__all__ = ["TOKENIZER_MANIFEST", "check_processor", "list_tokenizer"]
