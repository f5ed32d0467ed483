"""Real servers for the demo and the tests, as child processes: PostgreSQL and an iRODS stand-in. Not for production."""
