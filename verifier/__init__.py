"""The verifier pod: has iRODS read its bytes again and compares them with the source's checksum."""
