"""Where files come from. One module a kind of source, all speaking the protocol in `base`."""
