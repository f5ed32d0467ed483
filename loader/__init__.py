"""The loader pod: brings files into iRODS, by put or by registration."""
