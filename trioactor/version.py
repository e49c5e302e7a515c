"""The version, in one place: the package's metadata, `--version` and the wire's hello read it."""

VERSION = "0.1.0.dev0"
