"""Certificates for the tests of TLS: made once, good and bad ones."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Files:
    """What `enable_ssl` takes."""

    certfile: str
    keyfile: str
    ca_cert: str


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.name = name
        self.path = str(folder / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.path)

    def issue(
        self,
        *names: str,
        file: str,
        expires: datetime.datetime | None = None,
        trusts: Authority | None = None,
    ) -> Files:
        """Make a certificate with these names, and return its files."""
        made = self._ca.issue_cert(*names, not_after=expires)
        certfile, keyfile = self._folder / f"{file}.pem", self._folder / f"{file}.key"
        certfile.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(keyfile)
        return Files(str(certfile), str(keyfile), (trusts or self).path)
