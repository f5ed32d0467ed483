"""A stand-in iRODS server for the demonstration and the tests: the real wire protocol, a catalogue in SQLite, vaults as folders.

NOT for production. What it answers was recorded on an iRODS 5.0.2 (tests/data/irods_recordings); what the recordings do not
show follows that server's sources.
"""

from sandbox.irods.faults import Fault, Faults
from sandbox.irods.server import SandboxServer

__all__ = ["Fault", "Faults", "SandboxServer"]
