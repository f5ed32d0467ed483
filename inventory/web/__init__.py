"""The status page and the REST interface: what the inventory knows, over HTTP."""
