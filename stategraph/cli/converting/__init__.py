"""Commands that bring manifests of others, and earlier manifests of ours, into their present form."""
