"""Commands about plug-ins, and about clusters of Kubernetes."""
