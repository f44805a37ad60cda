"""The version of the package: apart, so that modules below the public names can tell it."""

__version__ = "0.1.0"
