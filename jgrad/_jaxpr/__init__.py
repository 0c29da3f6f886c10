"""_jaxpr."""
