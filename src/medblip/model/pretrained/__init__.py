"""Pretrained weights: the embedded ones that a package index serves."""

from medblip.model.pretrained.embedded import EmbeddedFiles, embedded_files, fetch_embedded

__all__ = ["EmbeddedFiles", "embedded_files", "fetch_embedded"]
