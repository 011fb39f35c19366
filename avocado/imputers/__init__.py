"""Methods that impute tracks, one file each, behind the protocol of `protocol.Imputer`."""
