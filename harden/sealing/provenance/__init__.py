"""Provenance: who says how a sealed file came about, signed apart from it, and which round it continues.

    document, envelope, statement     the JSON with one spelling; DSSE; the in-toto statement
    manifests                         write one, read one, compare it with its file
    shelf, chain                      the manifests at hand; from a round back to the first
    gathering                         what a run's folder and a checkout say

docs/provenance.md says how somebody without harden checks one.
"""

from harden.sealing.provenance.chain import Link, walk
from harden.sealing.provenance.gathering import digest_of, gather
from harden.sealing.provenance.manifests import (
    check_against,
    check_parent,
    is_manifest,
    kept_path,
    manifest_of,
    manifest_path,
    publish,
    read_manifest,
    write_manifest,
)
from harden.sealing.provenance.statement import Evidence, Manifest

__all__ = [
    "Evidence",
    "Link",
    "Manifest",
    "check_against",
    "check_parent",
    "digest_of",
    "gather",
    "is_manifest",
    "kept_path",
    "manifest_of",
    "manifest_path",
    "publish",
    "read_manifest",
    "walk",
    "write_manifest",
]
